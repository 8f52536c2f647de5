"""A job's segments: claimed one after another, rendered, published."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.feed import FrameFeed
from services.orchestrator.leases import claim, give_back, record_error, tell, while_held
from services.orchestrator.metrics import SEGMENT_RENDER_SECONDS
from services.orchestrator.outcomes import SegmentReport
from services.orchestrator.progress import Beacon
from services.orchestrator.records import Lease, SegmentRecord
from services.orchestrator.rendering import RenderJob, render_segment
from services.orchestrator.smart_render import copy_segment
from services.orchestrator.stages import Stages
from services.orchestrator.store import JobStore
from services.orchestrator.timeline import SegmentSpan
from services.runtime import tracing
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread

_WAIT_SECONDS = 0.25  # for segments that another worker has
Claimed = tuple[SegmentRecord, Lease]


@dataclass(frozen=True)
class SegmentRenderer:
    """What one worker does for the segments of one job."""

    store: JobStore
    artifacts: ArtifactStore
    stages: Stages
    owner: str
    lease_seconds: float
    job_id: str
    progress: Beacon

    async def render_all(self, render: RenderJob, lease: Lease, turn_seconds: float) -> None:
        """Segment after segment until all are done; those that others published are kept.

        After `turn_seconds` the job is given back if another waits: Refusal LEASE_LOST.
        """
        async with self._open_feed(render) as feed:
            begun = time.monotonic()

            def is_its_turn() -> bool:
                return time.monotonic() - begun <= turn_seconds

            while True:
                if not is_its_turn() and await tell(self.store.yield_turn, lease):
                    raise Refusal("LEASE_LOST", f"job {self.job_id} waits for another job's turn", job=self.job_id)
                segments = await tell(self.store.list_segments, self.job_id)
                done = sum(segment.frame_count for segment in segments if segment.result is not None)
                self.progress.advance(done)
                if all(segment.result is not None for segment in segments):
                    return
                claimed = await self._claim_segment()
                if claimed is None:
                    await asyncio.sleep(_WAIT_SECONDS)
                while claimed is not None:
                    segment, held = claimed
                    work = self._publish(render, feed, segment, held, done, is_its_turn)
                    claimed = await self._keep_lease(feed, held, work)
                    done += segment.frame_count

    async def render_from(self, render: RenderJob, segment: SegmentRecord, lease: Lease) -> None:
        """The segment that `lease` is on, then others for as long as there are any to claim."""
        async with self._open_feed(render) as feed:
            claimed: Claimed | None = (segment, lease)
            while claimed is not None:
                segment, held = claimed
                work = self._publish(render, feed, segment, held, 0, lambda: True)
                claimed = await self._keep_lease(feed, held, work) or await self._claim_segment()

    def _open_feed(self, render: RenderJob) -> FrameFeed:
        metadata = (("syncline-job", self.job_id),)
        return FrameFeed(self.stages, render.source, render.pts, render.time_base, metadata)

    async def _claim_segment(self) -> Claimed | None:
        claiming = claim(self.store, self.store.claim_segment, self.job_id, self.owner, self.lease_seconds)
        claimed: Claimed | None = await claiming
        return claimed

    async def _keep_lease(
        self, feed: FrameFeed, lease: Lease, work: Coroutine[Any, Any, Claimed | None]
    ) -> Claimed | None:
        """What the work on a segment returns; None if another has taken the segment over."""
        try:
            return await while_held(self.store, lease, self.lease_seconds, work)
        except asyncio.CancelledError:
            give_back(self.store, lease)
            raise
        except Exception as error:
            record = record_error(error)
            if record.reason == "LEASE_LOST":
                await feed.close()  # it may have been in the middle of a frame
                return None
            with contextlib.suppress(Refusal):
                await in_thread(self.store.release, lease, record)
            raise

    async def _publish(
        self,
        render: RenderJob,
        feed: FrameFeed,
        segment: SegmentRecord,
        lease: Lease,
        done: int,
        goes_on: Callable[[], bool],
    ) -> Claimed | None:
        """Renders and publishes the segment; claims the next if it then `goes_on`.

        `done`: frames of the job before it began.
        """
        metadata = (("syncline-job", self.job_id), ("syncline-segment", str(segment.index)))
        span = SegmentSpan(segment.index, segment.first_frame, segment.frame_count)
        begun = time.monotonic()
        with tracing.span("segment", segment=segment.index), self.artifacts.scratch(suffix=".mp4") as path:
            if (span.first_frame, span.frame_count) in render.copies:
                report = await self._copy(render, span, path)
            else:
                async for report in render_segment(self.stages, feed, render, span, path, metadata):
                    self.progress.advance(done + sum(count for _, _, count in report.outcomes))
            asset = await in_thread(self.artifacts.adopt, path)
        SEGMENT_RENDER_SECONDS.observe(time.monotonic() - begun)
        published = (lease, asset, report.to_json())
        if not goes_on():
            await tell(self.store.finish_segment, *published)
            return None
        ask = partial(claim, self.store)
        following: Claimed | None
        following = await tell(self.store.finish_and_claim, *published, self.lease_seconds, ask=ask)
        return following

    async def _copy(self, render: RenderJob, span: SegmentSpan, path: Path) -> SegmentReport:
        """Writes the source's own packets to `path`."""
        begun = time.monotonic()
        source = int(render.timeline.source[span.first_frame])
        ticks = int(render.pts[source] - render.pts[0])
        whole = await in_thread(self.artifacts.path_of, render.source)
        await in_thread(copy_segment, whole, ticks, span.frame_count, path)
        unseen = ("no_face", span.first_frame, span.frame_count)
        seconds = {"copy": time.monotonic() - begun}
        return SegmentReport([[unseen] for _ in render.mouths], [unseen], seconds, span.frame_count)
