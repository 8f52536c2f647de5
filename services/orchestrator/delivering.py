"""Results that jobs write to a bucket of their client's: `output_uri`."""

from dataclasses import dataclass
from pathlib import Path

from services.runtime.buckets import Address, Bucket, parse_address
from services.runtime.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Deliveries:
    """`buckets`: where the server may write, whole ones or what lies below a key."""

    buckets: tuple[Address, ...] = ()

    def check(self, uri: str) -> None:
        """Raises Refusal OUTPUT_FORBIDDEN."""
        try:
            address = parse_address(uri)
        except ValueError as error:
            raise _forbidden(uri, str(error)) from error
        if not address.is_within(self.buckets):
            raise _forbidden(uri, "it lies in no bucket that this server writes to (ORCHESTRATOR_OUTPUT_BUCKETS)")

    def deliver(self, uri: str, name: str, path: Path, digest: str) -> None:
        """Writes a file below that address; it appears when it is whole. Done twice, it writes the same again.

        Raises Refusal OUTPUT_FORBIDDEN, SERVICE_UNAVAILABLE.
        """
        self.check(uri)
        try:
            Bucket(uri).upload(path, name, digest)
        except (FileNotFoundError, PermissionError) as error:
            raise _forbidden(uri, str(error)) from error


def _forbidden(uri: str, why: str) -> Refusal:
    return Refusal("OUTPUT_FORBIDDEN", f"{uri[:200]!r} cannot be written by this server: {why}", uri=uri[:200])
