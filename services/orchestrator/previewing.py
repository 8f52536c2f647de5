"""PreviewJob: what a job would make, seen before it is queued, by the code that makes it."""

import asyncio
import contextlib
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from services.orchestrator.artifacts import ArtifactStore, Asset
from services.orchestrator.drawing import draw_frame, to_png
from services.orchestrator.excerpt import Excerpt
from services.orchestrator.feed import FrameFeed
from services.orchestrator.making import Making
from services.orchestrator.options import JobOptions
from services.orchestrator.outcomes import SegmentReport
from services.orchestrator.progress import Beacon
from services.orchestrator.records import NewJob
from services.orchestrator.rendering import RenderJob, Shown, outcome_of, render_frames, render_segment
from services.orchestrator.stages import Stages
from services.orchestrator.timeline import SegmentSpan
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread

MOST_SECONDS = 10.0
_AT_ONCE = 2  # previews of one orchestrator; others wait: they share the stages with the jobs
_FRAME_BEFORE = _FRAME_AFTER = Fraction(1)  # seconds planned round a frame: how a mouth moves depends on what it said


@dataclass(frozen=True, slots=True)
class Preview:
    """`asset`: PNG or video; `outcomes`: of a frame, what was done to the mouth of each person driven."""

    asset: Asset
    outcomes: list[str]


class Previews:
    def __init__(self, stages: Stages, artifacts: ArtifactStore) -> None:
        self._stages = stages
        self._artifacts = artifacts
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def show_frame(self, new: NewJob, at: float) -> Preview:
        """The frame shown at `at` seconds of the result. Raises Refusal INVALID_OPTION, and what the job would."""
        if not 0 <= at < 24 * 3600:
            raise Refusal("INVALID_OPTION", f"time is {at:g} s; it counts from 0, the first frame", field="time")
        moment = Fraction(str(at))
        begin = max(moment - _FRAME_BEFORE, Fraction(0))
        async with self._turns:
            making = self._open(new, Excerpt(begin, moment - begin + _FRAME_AFTER, moment))
            known, _, render = await making.get_ready({})
            number = int(np.searchsorted(known.timeline.pts, (moment - begin) // known.timeline.time_base, "right")) - 1
            shown = await self._render_one(render, number)
            picture = await in_thread(lambda: to_png(draw_frame(shown)))
            asset = await in_thread(self._artifacts.put, [picture])
            return Preview(asset, [outcome_of(patch) for patch in shown.patches])

    async def show_begin(self, new: NewJob, seconds: float) -> Preview:
        """The first seconds of the result, as the job would make them. Raises as show_frame."""
        if not 0 < seconds <= MOST_SECONDS:
            message = f"seconds is {seconds:g}; the range is above 0 to {MOST_SECONDS:g}"
            raise Refusal("INVALID_OPTION", message, field="seconds")
        async with self._turns:
            making = self._open(new, Excerpt(Fraction(0), Fraction(str(seconds))))
            known, _, render = await making.get_ready({})
            span = SegmentSpan(0, 0, render.timeline.frame_count)
            with self._artifacts.scratch(suffix=".mp4") as path:
                async with self._open_feed(render) as feed:
                    async for _ in render_segment(self._stages, feed, render, span, path, ()):
                        pass
                return Preview(await making.assemble(known, [path]), [])

    def _open(self, new: NewJob, excerpt: Excerpt) -> Making:
        # A mezzanine of the whole video would take longer than all the rest.
        options = replace(JobOptions.from_json(new.options), normalize=False)
        return Making(
            self._stages,
            self._artifacts,
            new.video,
            new.audio,
            options,
            (),
            Beacon(),
            _tell_nobody,
            excerpt=excerpt,
        )

    def _open_feed(self, render: RenderJob) -> FrameFeed:
        return FrameFeed(self._stages, render.source, render.pts, render.time_base, ())

    async def _render_one(self, render: RenderJob, number: int) -> Shown:
        report, span = SegmentReport([[] for _ in render.mouths]), SegmentSpan(0, number, 1)
        async with (
            self._open_feed(render) as feed,
            contextlib.aclosing(render_frames(self._stages, feed, render, span, (), report)) as batches,
        ):
            shown = [item async for batch in batches for item in batch.shown]
        return shown[0]


async def _tell_nobody(message: str) -> None:
    """Advice is InspectAsset's to give."""
