"""Jobs on neural engines: five real services, tiny networks with random weights, on the CPU."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the neural group is not installed")

from services.runtime.models import load_manifest, models_folder
from syncline import Client, errors
from syncline.local import LocalStack
from tests.end_to_end.conftest import read_video
from tests.neural import CODEFORMER, GFPGAN, make_models


@pytest.fixture(scope="module")
def neural(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of services that have the neural engines beside the default ones."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as environment:
        for model in load_manifest().models.values():
            if model.default:
                shutil.copy(models_folder() / model.file, folder)
        for variable in ("SYNCLINE_MODELS", "SYNCLINE_MANIFEST"):
            environment.setenv(variable, "")
        make_models(
            folder,
            {
                "gfpgan-v1.4": ("gfpgan", GFPGAN),
                "codeformer": ("codeformer", CODEFORMER),
                "wav2lip-gan": ("wav2lip", {}),
            },
        )
        environment.setenv("LIPSYNC_ENGINE", "rewrite,wav2lip")
        environment.setenv("RESTORER_ENGINE", "classic,gfpgan,codeformer")
        environment.setenv("RESTORER_BACKEND", "torch")
        with LocalStack(tmp_path_factory.mktemp("data")) as stack, Client(stack.server) as client:
            yield client


def test_a_job_runs_on_the_engines_it_names(neural: Client, media: Path, tmp_path: Path) -> None:
    out, restorer = tmp_path / "out.mp4", "gfpgan"
    job = neural.run(
        media / "portrait.mp4", media / "speech.wav", out, lipsync_engine="wav2lip", restorer_engine=restorer
    )
    assert (job.options.lipsync_engine, job.options.restorer_engine) == ("wav2lip", restorer)
    report = neural.report(job)
    assert (report["engines"]["lipsync"]["name"], report["engines"]["restorer"]["name"]) == ("wav2lip", restorer)
    for stage in ("lipsync", "restorer"):
        (model,) = report["engines"][stage]["models"]
        assert len(model["sha256"]) == 64
        assert model["license"] == "MIT"
    assert set(report["frames"]["by_outcome"]) == {"synced"}
    source, _ = read_video(media / "portrait.mp4")
    result, _ = read_video(out)
    change = np.mean([np.abs(new.astype(int) - old) for new, old in zip(result, source, strict=False)], axis=0)
    assert change[150:215, 190:265].mean() > 10  # random weights: the mouth is anything but the old one
    assert change[:60].mean() < 2


def test_an_engine_that_is_not_there_is_refused_with_those_that_are(neural: Client, media: Path) -> None:
    video, audio = neural.upload(media / "portrait.mp4"), neural.upload(media / "speech.wav")
    with pytest.raises(
        errors.UnknownEngine, match="restorer has no engine 'gpen'; there is: classic, gfpgan, codeformer"
    ):
        neural.create_job(video, audio, restorer_engine="gpen")
    with pytest.raises(errors.UnknownEngine, match="lipsync has no engine 'latentsync'; there is: rewrite, wav2lip"):
        neural.create_job(video, audio, lipsync_engine="latentsync")
