import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina

from syncline import Client
from tests.sdk.fakes import FakeOrchestrator, serving


@pytest.fixture(autouse=True)
def _no_pauses() -> Iterator[None]:
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """By the processes that tests start, also where these tests ignore it, as what a shell starts with & does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def fake() -> FakeOrchestrator:
    return FakeOrchestrator()


@pytest.fixture
def server(fake: FakeOrchestrator) -> Iterator[str]:
    with serving(fake) as address:
        yield address


@pytest.fixture
def client(server: str) -> Iterator[Client]:
    with Client(server) as client:
        yield client


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "video.mp4"
    path.write_bytes(bytes(range(251)) * 20_000)  # five chunks, the last one short
    return path


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    path = tmp_path / "speech.wav"
    path.write_bytes(b"speech" * 1000)
    return path
