"""What the lipsync engine makes for its caller to keep, on its way into the artifact store and out of it again."""

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from services.orchestrator.artifacts import ArtifactStore
from services.runtime.blobs import Blob
from services.runtime.files import hash_file
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread
from services.runtime.wire import Buffer


@dataclass(frozen=True)
class KeptBlob:
    """An artifact that is a blob of the lipsync engine's. `digest`: SHA-256, hexadecimal."""

    digest: str
    artifacts: ArtifactStore
    kind: str
    key: str

    def open(self) -> Blob:
        """Blocks. Raises Refusal SERVICE_UNAVAILABLE when it is there no longer: the next attempt makes it anew."""
        try:
            return Blob.open(self.artifacts.artifact_path(self.kind, self.key))
        except FileNotFoundError as error:
            message = f"The {self.kind} made for the job was cleaned up meanwhile: it is made again."
            raise Refusal("SERVICE_UNAVAILABLE", message, digest=self.digest) from error


def find_blob(artifacts: ArtifactStore, kind: str, key: str) -> KeptBlob | None:
    """Blocks."""
    try:
        digest = hash_file(artifacts.artifact_path(kind, key)).digest
    except FileNotFoundError:
        return None
    return KeptBlob(digest, artifacts, kind, key)


async def keep_blob(artifacts: ArtifactStore, kind: str, key: str, pieces: AsyncGenerator[Buffer, None]) -> KeptBlob:
    """Writes the pieces as they come, whole or not at all."""
    with artifacts.scratch() as path:
        with path.open("wb") as file:
            async with contextlib.aclosing(pieces):
                async for piece in pieces:
                    await in_thread(file.write, piece)
        asset = await in_thread(hash_file, path)
        await in_thread(artifacts.adopt_artifact, kind, key, path, asset.digest)
    return KeptBlob(asset.digest, artifacts, kind, key)
