"""What all tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import HOW, Postgres, find_programs, running
from tests.s3 import S3Server
from tests.s3 import running as s3_running

# On a busy machine drawing takes long and no example keeps a deadline: neither says anything about the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def clips() -> Path:
    """The real clips, kept beside the repository because their terms forbid carrying them in it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "clips"
    if not folder.is_dir():
        pytest.skip(f"the real clips are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server for all tests that want one."""
    if find_programs() is None:
        pytest.skip(HOW)
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server for all tests that want one, and its credentials where the services look for them."""
    with s3_running(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos", action="store_true", help="every fault on every service; takes some ten minutes")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if find_programs() is None:
        terminalreporter.write_line(f"{HOW}: the tests that want it were skipped")
