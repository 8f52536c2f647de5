"""What all tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import HOW, Postgres, find_programs, running


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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos", action="store_true", help="every fault on every service; takes some ten minutes")
