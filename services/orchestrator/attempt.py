"""One attempt at a job under a lease: led from its files to its video, or helped with by rendering segments of it."""

import json
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from services.orchestrator.artifacts import ArtifactStore, Asset
from services.orchestrator.cast_report import report_faces
from services.orchestrator.delivering import Deliveries
from services.orchestrator.idle import NOT_A_PHOTO
from services.orchestrator.leases import tell, while_held
from services.orchestrator.making import Making, digest_of
from services.orchestrator.mezzanine import Mezzanine, find_mezzanine
from services.orchestrator.options import JobOptions
from services.orchestrator.progress import Beacon, timed
from services.orchestrator.records import JobRecord, Lease, Phase, SegmentRecord
from services.orchestrator.rendering import RenderJob
from services.orchestrator.report import build_report
from services.orchestrator.segments import SegmentRenderer
from services.orchestrator.smart_render import cut_around
from services.orchestrator.soundtrack import NO_SOURCE_SOUND
from services.orchestrator.stages import Stages
from services.orchestrator.store import JobStore
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread


@dataclass(frozen=True)
class JobRun:
    """One attempt at one job."""

    store: JobStore
    artifacts: ArtifactStore
    stages: Stages
    deliveries: Deliveries
    owner: str
    lease_seconds: float
    segment_seconds: Fraction
    turn_seconds: float
    job: JobRecord
    lease: Lease
    progress: Beacon

    @property
    def _renderer(self) -> SegmentRenderer:
        return SegmentRenderer(
            self.store, self.artifacts, self.stages, self.owner, self.lease_seconds, self.job.id, self.progress
        )

    async def make(self) -> None:
        """Leads the job. Raises what went wrong."""
        seconds: dict[str, float] = {}
        making = await self._open(seconds)
        known, engines, render = await making.get_ready(seconds)
        spans = cut_around(render.timeline, render.copies, self.segment_seconds)
        pixels = render.encode.format.width * render.encode.format.height
        await tell(
            self.store.plan_segments,
            self.lease,
            digest_of(render, engines),
            spans,
            float(render.timeline.duration),
            pixels,
        )
        with timed(seconds, "render"):
            self.progress.enter(Phase.RENDER, render.timeline.frame_count)
            await self._renderer.render_all(render, self.lease, self.turn_seconds)
        with timed(seconds, "assemble"):
            self.progress.enter(Phase.ASSEMBLE, render.timeline.frame_count)
            segments = await tell(self.store.list_segments, self.job.id)
            finished = [segment.result.digest for segment in segments if segment.result]
            paths = await in_thread(lambda: [self.artifacts.path_of(digest) for digest in finished])
            result = await making.assemble(known, paths)
        options = making.options
        notes = [NOT_A_PHOTO] if options.idle_motion and not known.is_photo else []
        notes += [NO_SOURCE_SOUND] if options.source_gain is not None and not known.info.HasField("audio") else []
        faces = report_faces(known.analysis, known.cast, [prepared.summary for prepared in known.prepared], segments)
        job = replace(self.job, video=making.video)
        report = build_report(
            job, options, known.info, render.timeline, render.encode, segments, faces, engines, seconds, result, notes
        )
        document = json.dumps(report, indent=2, ensure_ascii=False).encode()
        report_asset = await in_thread(self.artifacts.put, [document])
        if options.output_uri is not None:
            await self._deliver(options.output_uri, options.container, result, report_asset)
        await tell(self.store.finish_job, self.lease, result, report_asset)

    async def _deliver(self, uri: str, container: str, result: Asset, report: Asset) -> None:
        """The video last: where it is, its report is."""
        name = f"{self.job.id}.{container}"
        for asset, target in ((report, f"{self.job.id}.report.json"), (result, name)):
            path = await in_thread(self.artifacts.path_of, asset.digest)
            await in_thread(self.deliveries.deliver, uri, target, path, asset.digest)
        await self._note(f"The video was written to {uri.rstrip('/')}/{name}.")

    async def help(self, segment: SegmentRecord) -> None:
        """Renders a segment, on which `lease` is, of a job that another leads; then others while there are any.

        Raises Refusal PLAN_DIFFERS when the engines here would render it differently.
        """

        async def get_ready() -> tuple[dict[str, Any], RenderJob]:
            _, engines, render = await (await self._open({})).get_ready({})
            return engines, render

        engines, render = await while_held(self.store, self.lease, self.lease_seconds, get_ready())
        if digest_of(render, engines) != self.job.plan:
            message = "the job was planned for other versions of the engines than those this worker reaches"
            raise Refusal("PLAN_DIFFERS", message, job=self.job.id)
        self.progress.enter(Phase.RENDER, render.timeline.frame_count)
        await self._renderer.render_from(render, segment, self.lease)

    async def _open(self, seconds: dict[str, float]) -> Making:
        """On what the job is to work on: its video, or the mezzanine of that."""
        metadata, options = (("syncline-job", self.job.id),), JobOptions.from_json(self.job.options)
        video = self.job.video
        if options.normalize:
            with timed(seconds, "normalize"):
                made = await find_mezzanine(self.stages, self.artifacts, video, Mezzanine(), metadata)
            video = made.digest
        job = self.job
        return Making(
            self.stages, self.artifacts, video, job.audio, options, metadata, self.progress, self._note, job.priority
        )

    async def _note(self, message: str) -> None:
        if self.lease.segment is None:  # who leads the job tells
            await tell(self.store.note, self.lease, message)
