"""What all tests share."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

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
