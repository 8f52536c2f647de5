"""The server a command talks to: the one named, or services started for it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from syncline.cli._output import Output
from syncline.client import Client


@contextlib.contextmanager
def reach(server: str | None, data: Path | None, output: Output, tenant: str = "") -> Iterator[Client]:
    with contextlib.ExitStack() as stack:
        if server is None:
            from syncline.local import LocalStack  # POSIX only; the rest of the client is not

            server = stack.enter_context(LocalStack(data, on_ready=output.ready)).server
        yield stack.enter_context(Client(server, tenant))
