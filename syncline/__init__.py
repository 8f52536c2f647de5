"""Client for Syncline: a face video and a speech recording in, the same video with lips that say the speech out.

    with Client("localhost:50050") as client:
        client.run("presenter.mp4", "speech.wav", "out.mp4", sync_mode="bounce")

`AsyncClient` is the same for asyncio, `types` holds what both give back, `errors` what both raise.
"""

from syncline import errors, types
from syncline.aio import AsyncClient
from syncline.client import Client

__all__ = ["AsyncClient", "Client", "errors", "types"]
