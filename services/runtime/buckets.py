"""Buckets of object stores: s3:// and whatever speaks its protocol, gs://, az://.

Endpoint, region and credentials come from the variables that the providers' own tools read: AWS_..., GOOGLE_...,
AZURE_.... All methods block, and ask again and again while the store is out of reach.
"""

import mimetypes
import os
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import obstore
import stamina
from obstore.exceptions import BaseError, GenericError, PermissionDeniedError, UnauthenticatedError
from obstore.store import from_url

from services.runtime.refusal import Refusal

Result = TypeVar("Result")

SCHEMES = ("s3", "gs", "az")
PATIENCE = 45.0  # seconds for which a store that is out of reach is asked again
_PART_BYTES = 8 << 20  # of one request
_MAX_PARTS = 9000  # of one upload; S3 takes 10,000
_MAX_KEY_BYTES = 1024
_BYTES = "application/octet-stream"
_ADDRESS = re.compile(r"(?P<bucket>(?:s3|gs|az)://[a-z0-9][a-z0-9._-]{1,221})(?:/(?P<key>.*))?", re.DOTALL)

_STATUS = re.compile(r"status code: (\d{3})")

# Of one request; those that fail are sent again by the client below us, then the work as a whole by us.
_CLIENT: Any = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=30)}
_RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=10)}


@dataclass(frozen=True, slots=True)
class Address:
    """`bucket`: "s3://name"; `key`: names joined by "/", empty for the whole bucket."""

    bucket: str
    key: str

    def is_within(self, allowed: Collection["Address"]) -> bool:
        """Whether it lies in one of these buckets, or below one of these keys."""
        return any(
            self.bucket == other.bucket and (not other.key or f"{self.key}/".startswith(f"{other.key}/"))
            for other in allowed
        )


def parse_address(uri: str) -> Address:
    """ "s3://bucket/some/key" in its parts. A key is taken as it stands: no part of it means another folder.

    Raises ValueError saying what is wrong.
    """
    found = _ADDRESS.fullmatch(uri)
    if found is None:
        raise ValueError("it is not of the form s3://bucket/key, gs://bucket/key or az://container/key")
    key = (found["key"] or "").removesuffix("/")
    if len(key.encode()) > _MAX_KEY_BYTES:
        raise ValueError(f"its key has more than {_MAX_KEY_BYTES} bytes")
    if key and any(part in ("", ".", "..") or not part.isprintable() for part in key.split("/")):
        raise ValueError("its key has an empty part, '.', '..' or a control character")
    return Address(found["bucket"], key)


@dataclass(frozen=True, slots=True)
class Stored:
    """`changed`: seconds since the Unix epoch, by the store's clock."""

    name: str
    size: int  # bytes
    changed: float


@dataclass(frozen=True, slots=True)
class BucketFile:
    """`digest`: the SHA-256 that was noted when it was written; empty when others wrote it."""

    size: int  # bytes
    content_type: str
    digest: str
    read: Callable[[int], Iterator[memoryview]]  # its bytes from the given one on; another version's never follow


class Bucket:
    """A bucket, or what lies below a key of it: `uri` as for parse_address. Names are relative to it.

    Raises FileNotFoundError for what is not there, PermissionError, and Refusal SERVICE_UNAVAILABLE when the store has
    been out of reach for too long. What is written appears when it is whole.
    """

    def __init__(self, uri: str) -> None:
        address = parse_address(uri)
        self.uri = uri.rstrip("/")
        self._prefix = f"{address.key}/" if address.key else ""
        # Plain HTTP is for whoever names such an endpoint, and for nobody by accident.
        plain = os.environ.get("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT", "")).startswith("http://")
        client: Any = {**_CLIENT, "allow_http": plain and address.bucket.startswith("s3:")}
        with self._own_errors():
            self._store: Any = from_url(address.bucket, client_options=client, retry_config=_RETRIES)
        self._retry = stamina.RetryingCaller(attempts=None, timeout=PATIENCE, wait_max=5.0)

    def find(self, name: str) -> Stored | None:
        try:
            meta = self._ask(obstore.head, name)
        except FileNotFoundError:
            return None
        return Stored(name, meta["size"], meta["last_modified"].timestamp())

    def open(self, name: str) -> BucketFile:
        got = self._ask(obstore.get, name, options={"head": True})
        meta, attributes = got.meta, got.attributes

        def read(offset: int) -> Iterator[memoryview]:
            for start in range(offset, meta["size"], _PART_BYTES):
                wanted: dict[str, Any] = {"if_match": meta["e_tag"]}
                if start or meta["size"] > _PART_BYTES:  # some servers send a whole file as no range
                    wanted["range"] = (start, min(start + _PART_BYTES, meta["size"]))
                yield memoryview(self._ask(_get_bytes, name, wanted))

        content_type = attributes.get("Content-Type", _BYTES)
        return BucketFile(meta["size"], content_type, attributes.get("sha256", ""), read)

    def upload(self, path: Path, name: str, digest: str) -> None:
        """`digest`: the file's SHA-256, which is noted; so is its type, by the suffix of either name."""
        size = path.stat().st_size
        content_type = mimetypes.guess_type(path.name)[0] or mimetypes.guess_type(name)[0] or _BYTES
        self._ask(
            obstore.put,
            name,
            path,
            attributes={"sha256": digest, "Content-Type": content_type},
            use_multipart=size > _PART_BYTES,
            chunk_size=max(_PART_BYTES, -(-size // _MAX_PARTS)),
            max_concurrency=4,
        )

    def put(self, name: str, content: bytes) -> None:
        """For what is small and ours alone: neither digest nor type are noted."""
        self._ask(obstore.put, name, content, use_multipart=False)

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._ask(obstore.delete, name)

    def list(self, folder: str) -> Iterator[Stored]:
        """All that lies below it."""
        with self._own_errors():
            for page in obstore.list(self._store, prefix=f"{self._prefix}{folder}"):
                for meta in page:
                    name = meta["path"].removeprefix(self._prefix)
                    yield Stored(name, meta["size"], meta["last_modified"].timestamp())

    def sign(self, name: str, seconds: float) -> str:
        """An address at which anyone can read the file for so long."""
        with self._own_errors():
            return obstore.sign(self._store, "GET", f"{self._prefix}{name}", timedelta(seconds=seconds))

    def _ask(self, method: Callable[..., Result], name: str, *arguments: Any, **options: Any) -> Result:
        with self._own_errors():
            return self._retry(_may_pass, method, self._store, f"{self._prefix}{name}", *arguments, **options)

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise PermissionError(f"{self.uri} refuses the server's credentials: {_brief(error)}") from error
        except BaseError as error:
            if "NoSuchBucket" in str(error):
                raise FileNotFoundError(f"there is no {self.uri}") from error
            if _status(error) == 403:  # listing has no error of its own for it
                raise PermissionError(f"{self.uri} refuses the server's credentials: {_brief(error)}") from error
            message = f"The object store of {self.uri} cannot be used: {_brief(error)}"
            raise Refusal("SERVICE_UNAVAILABLE", message) from error


def _may_pass(error: Exception) -> bool:
    return isinstance(error, GenericError) and _status(error) not in (400, 401, 403, 404)


def _status(error: Exception) -> int:
    """Of HTTP, where the store answered; else 0."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else 0


def _get_bytes(store: Any, key: str, wanted: Any) -> Any:
    return obstore.get(store, key, options=wanted).bytes()


def _brief(error: Exception) -> str:
    """Its first line; the rest repeats it for debuggers."""
    return str(error).partition("\n")[0].strip()[:300]
