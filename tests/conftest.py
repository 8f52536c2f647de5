"""What all tests share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def clips() -> Path:
    """The real clips, kept beside the repository because their terms forbid carrying them in it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "clips"
    if not folder.is_dir():
        pytest.skip(f"the real clips are not at {folder}")
    return folder
