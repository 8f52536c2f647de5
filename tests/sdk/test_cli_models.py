"""syncline models, which hands its work to the services' own code."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from syncline.cli import app


def invoke(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, and what was written by the process that was started."""
    status = CliRunner().invoke(app, ["models", *arguments]).exit_code
    written = capfd.readouterr()
    return status, written.out, written.err


def test_every_model_is_listed_with_its_terms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SYNCLINE_MODELS", str(tmp_path))
    status, out, _ = invoke(capfd, "list")
    assert status == 0
    assert "face-mesh  absent  1242398 bytes  Apache-2.0" in out
    assert "wav2lip-gan  absent  435801865 bytes  LicenseRef-Wav2Lip-research, non-commercial" in out


def test_an_unknown_model_fails_and_lists_those_there_are(capfd: pytest.CaptureFixture[str]) -> None:
    status, _, err = invoke(capfd, "fetch", "gpen")
    assert status == 1
    assert "no model gpen in the manifest; there is: face-detection-full-range" in err


def test_a_damaged_file_fails_verification(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "face_landmark.tflite").write_bytes(b"something else")
    monkeypatch.setenv("SYNCLINE_MODELS", str(tmp_path))
    status, out, _ = invoke(capfd, "verify")
    assert status == 1
    assert out.startswith("face-mesh  altered")
