"""Segments come out alike whoever renders them, whatever was rendered before: real stages, a person drawn by us."""

import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from services.decoder.engines import load_engine as load_decoder
from services.decoder.servicer import DecoderServicer
from services.lipsync.engines import load_engine as load_lipsync
from services.lipsync.servicer import LipsyncServicer
from services.orchestrator import rendering
from services.orchestrator.analysis import Analysis
from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.convert import to_expression
from services.orchestrator.encoding import EncodeSettings
from services.orchestrator.faces import DetectedFaces, SpeakerTrack
from services.orchestrator.feed import FrameFeed
from services.orchestrator.idle import move_photo
from services.orchestrator.options import JobOptions
from services.orchestrator.outcomes import SegmentReport
from services.orchestrator.planning import find_plan, speech_duration
from services.orchestrator.rendering import Mouth, RenderJob, paste_patches, render_frames, render_segment
from services.orchestrator.source import SPEECH_RATE, Source, find_prepared
from services.orchestrator.stages import Stages
from services.orchestrator.timeline import SegmentSpan, SyncMode, build_photo_timeline, build_timeline, cut_segments
from services.restorer.engines import Engine as Restorer
from services.restorer.engines import load_engine as load_restorer
from services.restorer.servicer import RestorerServicer
from services.runtime.backends import Backend, OutOfMemory
from services.runtime.engine import ANYBODY, Caller, ModelInfo
from services.runtime.faces import Crop
from services.runtime.files import hash_file
from services.runtime.frames import Frame, copy_frame
from tests.end_to_end.conftest import write_video
from tests.lipsync.people import make_points, open_mouths, paint, pose, speak
from tests.stages import portrait, run, serving

RATE = Fraction(25)
FRAMES = 30  # of the source
SPEECH_SECONDS = 2.6  # more than two rounds of it
SEGMENT_SECONDS = Fraction(1, 2)


@dataclass(frozen=True)
class Person:
    """Somebody who speaks and sways, filmed: `meshes` (frames, 468, 3) are known, not detected."""

    store: Path
    digest: str
    meshes: np.ndarray
    speech: np.ndarray | None


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Person:
    store = tmp_path_factory.mktemp("store")
    speech, openness = speak(FRAMES / float(RATE))
    openings = 0.3 * openness[np.arange(FRAMES) * SPEECH_RATE // int(RATE)]
    points = make_points(open_mouths(openings))
    sways = 3 * np.sin(np.arange(FRAMES) / 4)
    posed = [
        pose(points[frame : frame + 1], yaw=sway, scale=60, centre=(128 + sway, 128))
        for frame, sway in enumerate(sways)
    ]
    meshes = np.concatenate(posed)
    write_video(store / "person.mp4", [paint(mesh) for mesh in meshes], RATE)
    asset = ArtifactStore(store).adopt(store / "person.mp4")
    return Person(store, asset.digest, meshes, speech)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Person:
    store = tmp_path_factory.mktemp("store")
    picture, mesh = portrait()
    cv2.imwrite(str(store / "photo.png"), picture[:, :, ::-1])
    asset = ArtifactStore(store).adopt(store / "photo.png")
    return Person(store, asset.digest, mesh[None], None)


@contextlib.asynccontextmanager
async def real_stages(store: Path, restorers: Sequence[Restorer] = ()) -> AsyncIterator[Stages]:
    """`restorers`: one for each replica; else one with the default engine."""
    async with contextlib.AsyncExitStack() as stack:
        servicers = [
            DecoderServicer(load_decoder("pyav"), store),
            LipsyncServicer(load_lipsync("rewrite")),
            *(RestorerServicer(each) for each in restorers or [load_restorer("classic")]),
        ]
        served = [await stack.enter_async_context(serving(servicer)) for servicer in servicers]
        decoder, lipsync, *rest = (f"127.0.0.1:{each.running.port}" for each in served)
        stages = Stages(decoder, decoder, lipsync, ",".join(rest), stall=30)
        try:
            yield stages
        finally:
            await stages.close()


async def analyse(stages: Stages, person: Person) -> Analysis:
    async with stages.decode_frames(person.digest, (), copy_frame) as reader:
        pts = np.array([frame.pts async for frames in reader for frame in frames], np.int64)
        frame_format, time_base = reader.format, reader.time_base
    rows = np.arange(len(person.meshes))
    centre = person.meshes[:, :, :2].mean(axis=1, dtype=np.float64)
    faces = DetectedFaces(rows, 0 * rows, np.full(len(rows), 2e4), centre, np.zeros(len(rows), bool))
    return Analysis(frame_format, time_base, pts, faces, person.meshes, {}, {})


async def plan_job(stages: Stages, person: Person, sync_mode: SyncMode, options: JobOptions) -> RenderJob:
    artifacts, analysis, new_speech = (
        ArtifactStore(person.store),
        await analyse(stages, person),
        speak(SPEECH_SECONDS, 3)[0],
    )
    whole_face = (await stages.engine("restorer")).whole_face
    track = SpeakerTrack(analysis.faces, analysis.meshes, np.arange(len(person.meshes)), whole_face)
    source = Source(person.digest, person.digest, analysis, track, person.speech)
    prepared = await find_prepared(stages, artifacts, source, (), lambda done: None)
    expression, idle, duration = to_expression(options), [], speech_duration(new_speech)
    if len(analysis.pts) == 1:
        timeline = build_photo_timeline(duration)
        idle = move_photo([track], analysis.format, timeline, options.idle_motion, person.digest)
    else:
        timeline = build_timeline(analysis.pts, analysis.time_base, 1 / RATE, duration, sync_mode)
    plan = await find_plan(stages, artifacts, prepared, timeline, track, new_speech, expression, idle, ())
    return RenderJob(
        source=person.digest,
        pts=analysis.pts,
        time_base=analysis.time_base,
        mouths=[Mouth(track, prepared, plan)],
        timeline=timeline,
        encode=EncodeSettings(analysis.format, timeline.frame_rate, options.crf, "ultrafast"),
        restorer_strength=options.restorer_strength,
        restorer_engine=options.restorer_engine,
        expression=expression,
        idle=idle,
    )


async def render(stages: Stages, feed: FrameFeed, job: RenderJob, span: SegmentSpan, path: Path) -> str:
    """Digest of the segment's file."""
    async for report in render_segment(stages, feed, job, span, path, ()):
        outcomes = report.outcomes
    assert {outcome for outcome, _, _ in outcomes} <= {"synced", "warped", "drawn"}
    return hash_file(path).digest


def open_feed(stages: Stages, job: RenderJob) -> FrameFeed:
    return FrameFeed(stages, job.source, job.pts, job.time_base, ())


async def check_alone(person: Person, sync_mode: SyncMode, options: JobOptions, path: Path) -> RenderJob:
    """Renders the job's segments in one go, then each by itself, last first, by stages that know nothing of before."""
    async with real_stages(person.store) as stages:
        job = await plan_job(stages, person, sync_mode, options)
        spans = cut_segments(job.timeline, SEGMENT_SECONDS)
        assert len(spans) >= 4
        async with open_feed(stages, job) as feed:
            in_one_go = [await render(stages, feed, job, span, path) for span in spans]
    async with real_stages(person.store) as stages:
        job = await plan_job(stages, person, sync_mode, options)
        for span in reversed(spans):
            async with open_feed(stages, job) as feed:
                alone = await render(stages, feed, job, span, path)
            assert alone == in_one_go[span.index], f"segment {span.index} depends on what was rendered before it"
    return job


@pytest.mark.parametrize("sync_mode", [SyncMode.LOOP, SyncMode.BOUNCE])
def test_a_segment_alone_equals_the_same_segment_among_others(
    person: Person, tmp_path: Path, sync_mode: SyncMode
) -> None:
    job = run(check_alone(person, sync_mode, JobOptions(), tmp_path / "segment.mp4"))
    turns = np.flatnonzero(np.diff(job.timeline.source) != 1)
    spans = cut_segments(job.timeline, SEGMENT_SECONDS)
    assert set(turns.tolist()) - {span.first_frame for span in spans}  # some lie within segments


def test_a_photo_that_moves_does_so_alike_in_every_segment(photo: Person, tmp_path: Path) -> None:
    job = run(check_alone(photo, SyncMode.LOOP, JobOptions(idle_motion=1.0), tmp_path / "segment.mp4"))
    assert job.idle


class Troubled:
    """A device of a replica: slow over a batch, so that what was sent later is answered earlier, or short of memory."""

    def __init__(self, backend: Backend, seconds: float, room: int) -> None:
        self._backend, self._seconds, self._room = backend, seconds, room
        self.batches: list[int] = []

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        time.sleep(self._seconds)
        if len(inputs[0]) > self._room:
            raise OutOfMemory("CUDA out of memory")
        self.batches.append(len(inputs[0]))
        return self._backend.run(inputs)


class Noting:
    """A replica's engine, and how far it trusted what it made, by frame."""

    def __init__(self, engine: Restorer) -> None:
        self.info, self._engine = engine.info, engine
        self.trusts: dict[int, float | None] = {}

    def restore(self, crops: Sequence[Crop], strength: float, caller: Caller = ANYBODY) -> list[Crop]:
        restored = self._engine.restore(crops, strength, caller)
        self.trusts |= {crop.frame: crop.trust for crop in restored}
        return restored


def test_a_network_restores_alike_on_any_replica_in_any_trouble(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica alone, given eight faces at a time. Then three given one at a time: one without memory for more than
    one and slow, one slower, one that found its exported network damaged.
    """
    pytest.importorskip("torch", reason="the neural group is not installed")
    from services.restorer.config import RestorerConfig
    from services.restorer.engines import neural
    from tests.neural import GFPGAN, make_models

    for variable in ("SYNCLINE_MODELS", "SYNCLINE_MANIFEST"):
        monkeypatch.setenv(variable, "")
    make_models(tmp_path, {"gfpgan-v1.4": ("gfpgan", GFPGAN)})
    monkeypatch.setattr(neural, "_SAME", 5.7)  # levels: what these weights make is now trusted, now not
    monkeypatch.setattr(neural, "_ANOTHER", 8.6)
    load_model = neural.load_model

    def load_replica(seconds: float, room: int) -> tuple[Noting, Troubled]:
        devices: list[Troubled] = []

        def load_troubled(*arguments: Any) -> tuple[Troubled, ModelInfo]:
            backend, info = load_model(*arguments)
            devices.append(Troubled(backend, seconds, room))
            return devices[0], info

        monkeypatch.setattr(neural, "load_model", load_troubled)
        return Noting(load_restorer("gfpgan", RestorerConfig())), devices[0]

    async def render_with(batch: int, *replicas: Noting) -> tuple[str, dict[int, float | None]]:
        """The segment's digest, and the trust in each frame."""
        monkeypatch.setattr(rendering, "_MAX_BATCH", batch)
        async with real_stages(person.store, replicas) as stages:
            job = await plan_job(stages, person, SyncMode.LOOP, JobOptions())
            async with open_feed(stages, job) as feed:
                digest = await render(stages, feed, job, SegmentSpan(0, 0, 12), tmp_path / "segment.mp4")
        assert all(replica.trusts for replica in replicas)
        return digest, {frame: trust for replica in replicas for frame, trust in replica.trusts.items()}

    one, ample = load_replica(0.0, 64)
    expected = run(render_with(8, one))
    assert max(ample.batches) > 1
    assert min(expected[1].values()) < 0.3 < 0.7 < max(expected[1].values())  # type: ignore[type-var, operator]

    scarce, device = load_replica(0.05, 1)
    slow, _ = load_replica(0.15, 64)
    (exported,) = (tmp_path / "cache").glob("gfpgan-*.onnx")
    exported.write_bytes(exported.read_bytes()[:-99])
    repaired, _ = load_replica(0.0, 64)
    assert run(render_with(1, scarce, slow, repaired)) == expected
    scarce.trusts.clear()
    assert run(render_with(8, scarce)) == expected
    assert set(device.batches) == {1}


def test_a_still_picture_is_never_drawn_on_twice(photo: Person) -> None:
    """Each output frame of a photo gets its mouth anew, whatever was drawn on the frames before."""

    async def show(span: SegmentSpan) -> list[Frame]:
        async with real_stages(photo.store) as stages:
            job = replace(await plan_job(stages, photo, SyncMode.LOOP, JobOptions()), idle=())
            async with open_feed(stages, job) as feed:
                batches = render_frames(stages, feed, job, span, (), SegmentReport([[]]))
                return [copy_frame(paste_patches(shown).frame) async for batch in batches for shown in batch.shown]

    among_others = run(show(SegmentSpan(0, 20, 12)))[11]  # of a second batch
    (alone,) = run(show(SegmentSpan(0, 31, 1)))
    for plane, other in zip(alone.planes, among_others.planes, strict=True):
        np.testing.assert_array_equal(plane, other)
