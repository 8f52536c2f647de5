"""Files that the server fetches by itself: from one folder of its own, or from hosts and buckets that it was told.

What a client names must not make the server read what the client could not (SSRF): only https on its own port, only
hosts of the list, only addresses of the public internet. The address that was checked is the one connected to, so that
a name cannot mean another between check and use; redirections are not followed. Buckets are read with the server's own
credentials, so that only those of the list are, and of them only the keys of the list.
"""

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from services.orchestrator.artifacts import CHUNK_BYTES, ArtifactStore, Asset
from services.runtime.buckets import SCHEMES, Address, Bucket, parse_address
from services.runtime.refusal import Refusal

Chunk = TypeVar("Chunk", bytes, memoryview)

_TIMEOUT = 30.0  # seconds without a byte
_PORT = 443
_TYPES = ("video/", "audio/", "image/", "application/octet-stream", "application/mp4", "binary/octet-stream")


@dataclass(frozen=True, slots=True)
class ImportRules:
    """`root`: folder that paths are below, None: none may be named; `hosts`: names, "*" for any part of one;
    `buckets`: whole ones, or what lies below a key.
    """

    root: Path | None = None
    hosts: tuple[str, ...] = ()
    buckets: tuple[Address, ...] = ()
    most_bytes: int = 20 << 30


def import_asset(artifacts: ArtifactStore, rules: ImportRules, uri: str) -> Asset:
    """Fetches the file into the store. Blocks.

    Raises Refusal SOURCE_FORBIDDEN, SOURCE_NOT_FOUND, SERVICE_UNAVAILABLE, DISK_FULL.
    """
    scheme, _, rest = uri.partition(":")
    if scheme == "file":
        return artifacts.put(_read_file(artifacts, rules, unquote(rest)))
    if scheme == "https":
        return artifacts.put(_read_https(artifacts, rules, uri))
    if scheme in SCHEMES:
        return artifacts.put(_read_bucket(artifacts, rules, uri))
    raise _forbidden(uri, "only https:, s3:, gs:, az: and file: are read")


def _read_file(artifacts: ArtifactStore, rules: ImportRules, name: str) -> Iterator[bytes]:
    if rules.root is None:
        raise _forbidden(name, "this server reads no files by name (ORCHESTRATOR_IMPORT_ROOT)")
    root = rules.root.resolve()
    path = (root / name.lstrip("/")).resolve()  # links are followed before they are judged
    if not path.is_relative_to(root):
        raise _forbidden(name, "it leads out of the server's import folder")
    if not path.is_file():
        raise Refusal("SOURCE_NOT_FOUND", f"there is no file {name[:200]!r} in the server's import folder", uri=name)
    _check_size(artifacts, rules, name, path.stat().st_size)
    with path.open("rb") as file:
        yield from _limited(iter(lambda: file.read(CHUNK_BYTES), b""), rules, name)


def _read_bucket(artifacts: ArtifactStore, rules: ImportRules, uri: str) -> Iterator[memoryview]:
    try:
        address = parse_address(uri)
    except ValueError as error:
        raise _forbidden(uri, str(error)) from error
    if not address.key or not address.is_within(rules.buckets):
        raise _forbidden(uri, "it lies in no bucket that this server reads from (ORCHESTRATOR_IMPORT_BUCKETS)")
    try:
        found = Bucket(address.bucket).open(address.key)
        _check_type(found.content_type, uri)
        _check_size(artifacts, rules, uri, found.size)
        yield from _limited(found.read(0), rules, uri)
    except FileNotFoundError as error:
        raise Refusal("SOURCE_NOT_FOUND", f"there is nothing at {uri[:200]}", uri=uri[:200]) from error
    except PermissionError as error:
        raise _forbidden(uri, "its bucket refuses the server's credentials") from error


def _read_https(artifacts: ArtifactStore, rules: ImportRules, uri: str) -> Iterator[bytes]:
    host, target = split_address(uri, rules.hosts, "ORCHESTRATOR_IMPORT_HOSTS")
    connection = connect(host, find_address(host, uri))
    try:
        connection.request("GET", target, headers={"Host": host, "Accept-Encoding": "identity"})
        response = connection.getresponse()
        _check_response(response, uri)
        _check_size(artifacts, rules, uri, int(response.getheader("Content-Length") or 0))
        yield from _limited(iter(lambda: response.read(CHUNK_BYTES), b""), rules, uri)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Refusal("SERVICE_UNAVAILABLE", f"{host} broke off: {error}", uri=uri) from error
    finally:
        connection.close()


def split_address(uri: str, hosts: Collection[str], variable: str) -> tuple[str, str]:
    """Host and target of an https address. Raises Refusal SOURCE_FORBIDDEN unless `variable` names the host."""
    parts = urlsplit(uri)
    host = (parts.hostname or "").lower().rstrip(".")
    if parts.scheme != "https" or not any(fnmatchcase(host, pattern) for pattern in hosts):
        raise _forbidden(uri, f"its host is not one that this server may reach over https ({variable})")
    if parts.username or parts.password or _port(uri) not in (None, _PORT):
        raise _forbidden(uri, "an address has neither a user nor a port")
    return host, f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"


def find_address(host: str, uri: str) -> str:
    """A public address of the host. Raises Refusal SOURCE_FORBIDDEN when any of its addresses is not public."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, _PORT, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise Refusal("SOURCE_NOT_FOUND", f"there is no host {host!r}", uri=uri) from error
    if not all(is_public(address) for address in found):
        raise _forbidden(uri, "its host has an address that is not of the public internet")
    return min(found)


def is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None) or getattr(parsed, "sixtofour", None)
    return parsed.is_global and not parsed.is_multicast and (mapped is None or is_public(str(mapped)))


def connect(host: str, address: str, timeout: float = _TIMEOUT) -> http.client.HTTPConnection:
    """A connection to the address, whose certificate must be the host's. `timeout`: seconds without a byte."""
    connection = http.client.HTTPSConnection(address, _PORT, timeout=timeout)
    try:
        plain = socket.create_connection((address, _PORT), timeout)
        connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    except OSError as error:
        raise Refusal("SERVICE_UNAVAILABLE", f"{host} cannot be reached: {error}", host=host) from error
    return connection


def _check_response(response: http.client.HTTPResponse, uri: str) -> None:
    if response.status in (404, 410):
        raise Refusal("SOURCE_NOT_FOUND", f"there is nothing at {uri[:200]}", uri=uri)
    if response.status >= 500 or response.status == 429:
        raise Refusal("SERVICE_UNAVAILABLE", f"{uri[:200]} answers {response.status}", uri=uri)
    if response.status != 200:
        raise _forbidden(uri, f"it answers {response.status}; redirections are not followed")
    _check_type(response.getheader("Content-Type") or "application/octet-stream", uri)


def _check_type(kind: str, uri: str) -> None:
    if not kind.lower().startswith(_TYPES):
        raise _forbidden(uri, f"it is {kind[:80]}, which is neither video, sound nor picture")


def _check_size(artifacts: ArtifactStore, rules: ImportRules, uri: str, size: int) -> None:
    if size > rules.most_bytes:
        raise _forbidden(uri, f"it has {size} bytes; at most {rules.most_bytes} are read")
    artifacts.check_room(size)


def _limited(chunks: Iterator[Chunk], rules: ImportRules, uri: str) -> Iterator[Chunk]:
    """What was announced may be wrong."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > rules.most_bytes:
            raise _forbidden(uri, f"it has more than the {rules.most_bytes} bytes that are read")
        yield chunk
    if not size:
        raise Refusal("NOT_MEDIA", "the file is empty", uri=uri)


def _port(uri: str) -> int | None:
    try:
        return urlsplit(uri).port
    except ValueError as error:
        raise _forbidden(uri, "its port is no number") from error


def _forbidden(uri: str, why: str) -> Refusal:
    return Refusal("SOURCE_FORBIDDEN", f"{uri[:200]!r} cannot be used by this server: {why}", uri=uri[:200])
