"""What a client may make the server read, and what not."""

import http.client
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.orchestrator import importing
from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.importing import ImportRules, import_asset, is_public
from tests.orchestrator.test_store import refused

FILM = b"film" * 1000


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "media"
    (root / "inner").mkdir(parents=True)
    (root / "inner" / "film 1.mp4").write_bytes(FILM)
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "empty.mp4").touch()
    return root


def test_a_file_below_the_root_is_stored(artifacts: ArtifactStore, root: Path) -> None:
    for uri in ("file:inner/film 1.mp4", "file:/inner/film%201.mp4", "file:///inner/film%201.mp4"):
        asset = import_asset(artifacts, ImportRules(root), uri)
        assert artifacts.path_of(asset.digest).read_bytes() == FILM


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("file:../secret.mp4", "SOURCE_FORBIDDEN"),
        ("file:inner/../../secret.mp4", "SOURCE_FORBIDDEN"),
        ("file:%2e%2e/secret.mp4", "SOURCE_FORBIDDEN"),
        ("file:link.mp4", "SOURCE_FORBIDDEN"),
        ("file:/etc/passwd", "SOURCE_NOT_FOUND"),  # below the root
        ("file:inner", "SOURCE_NOT_FOUND"),
        ("file:empty.mp4", "NOT_MEDIA"),
        ("http://cdn.example.com/film.mp4", "SOURCE_FORBIDDEN"),
        ("https://other.example.com/film.mp4", "SOURCE_FORBIDDEN"),
        ("https://127.0.0.1/film.mp4", "SOURCE_FORBIDDEN"),
        ("https://cdn.example.com:8443/film.mp4", "SOURCE_FORBIDDEN"),
        ("https://user:word@cdn.example.com/film.mp4", "SOURCE_FORBIDDEN"),
        ("https://cdn.example.com@127.0.0.1/film.mp4", "SOURCE_FORBIDDEN"),
        ("gopher://cdn.example.com/", "SOURCE_FORBIDDEN"),
        ("film.mp4", "SOURCE_FORBIDDEN"),
    ],
)
def test_what_leads_elsewhere_is_refused(artifacts: ArtifactStore, root: Path, uri: str, reason: str) -> None:
    rules = ImportRules(root, ("cdn.example.com",))
    assert refused(lambda: import_asset(artifacts, rules, uri)) == reason


def test_nothing_is_read_unless_it_was_allowed(artifacts: ArtifactStore) -> None:
    for uri in ("file:film.mp4", "https://cdn.example.com/film.mp4"):
        assert refused(lambda uri=uri: import_asset(artifacts, ImportRules(), uri)) == "SOURCE_FORBIDDEN"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "2002:7f00:1::",
        "::",
    ],
)
def test_internal_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


def test_a_name_that_means_an_internal_address_is_refused(
    artifacts: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [(2, 1, 6, "", ("93.184.216.34", 443)), (2, 1, 6, "", ("10.0.0.1", 443))]
    monkeypatch.setattr(importing.socket, "getaddrinfo", lambda *arguments, **options: both)
    rules = ImportRules(hosts=("*.example.com",))
    assert refused(lambda: import_asset(artifacts, rules, "https://cdn.example.com/film.mp4")) == "SOURCE_FORBIDDEN"


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answers = {
            "/film.mp4?size=1": (200, "video/mp4", FILM, len(FILM)),
            "/page": (200, "text/html", b"<html>", 6),
            "/moved": (302, "text/html", b"", 0),
            "/busy": (503, "text/html", b"", 0),
            "/lies": (200, "video/mp4", FILM, None),  # says nothing of its size
        }
        status, kind, body, size = answers.get(self.path, (404, "text/html", b"", 0))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Location", "http://169.254.169.254/")
        if size is not None:
            self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stands for cdn.example.com, without its certificate."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(importing, "find_address", lambda host, uri: "127.0.0.1")
    monkeypatch.setattr(importing, "connect", lambda host, address: http.client.HTTPConnection(*server.server_address))
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("page", "SOURCE_FORBIDDEN"),
        ("moved", "SOURCE_FORBIDDEN"),
        ("busy", "SERVICE_UNAVAILABLE"),
        ("none", "SOURCE_NOT_FOUND"),
        ("lies", "SOURCE_FORBIDDEN"),
    ],
)
def test_what_a_host_answers(artifacts: ArtifactStore, site: None, path: str, reason: str) -> None:
    rules = ImportRules(hosts=("cdn.example.com",), most_bytes=len(FILM))
    asset = import_asset(artifacts, rules, "https://cdn.example.com/film.mp4?size=1")
    assert artifacts.path_of(asset.digest).read_bytes() == FILM
    tight = ImportRules(hosts=("cdn.example.com",), most_bytes=len(FILM) - 1)
    assert refused(lambda: import_asset(artifacts, tight, f"https://cdn.example.com/{path}")) == reason
    assert not list((artifacts._root / "scratch").iterdir())
