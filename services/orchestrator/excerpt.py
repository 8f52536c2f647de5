"""A few seconds of a job's result, and as much of its source as they need: what a look costs must not grow with it."""

from dataclasses import dataclass, replace
from fractions import Fraction

from services.orchestrator.analysis import Analysis
from services.orchestrator.options import JobOptions
from services.orchestrator.timeline import SyncMode
from services.runtime.convert import to_fraction
from services.runtime.refusal import Refusal
from syncline.v1 import decoder_pb2

_AROUND = Fraction(3)  # seconds of the source before and after, for the lipsync engine to learn from


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The result from `begin` on for `seconds`, of which `at` is to be seen; all in seconds of the result."""

    begin: Fraction
    seconds: Fraction
    at: Fraction = Fraction(0)

    def find_part(self, info: decoder_pb2.MediaInfo, options: JobOptions) -> tuple[Fraction, Fraction] | None:
        """The presentation times, in seconds, between which the source is to be looked at; None: all of it.

        A person's number and a box at a time are facts about the whole source. Raises as `narrow`.
        """
        if info.kind == decoder_pb2.MediaInfo.KIND_PHOTO or not info.HasField("duration"):
            return None
        begin, end = _used(info, options)
        self._check(end - begin)
        faces = [options.face, *(speaker.face for speaker in options.speakers)]
        if any(face.index is not None or face.box is not None for face in faces):
            return None
        first, last = begin + self.begin - _AROUND, begin + self.begin + self.seconds + _AROUND
        if first <= 0 and last >= (to_fraction(info.duration) or 0):
            return None
        start = to_fraction(info.video.start_time) or Fraction(0)
        return start + max(first, Fraction(0)), start + last

    def narrow(
        self, info: decoder_pb2.MediaInfo, analysis: Analysis, options: JobOptions, spoken: Fraction
    ) -> tuple[JobOptions, Fraction]:
        """Options with which the analysed part gives the excerpt's pictures, and for how long.

        `spoken`: when the speech ends in the result, in seconds. Raises Refusal INVALID_OPTION where `at` lies beyond
        what is shown of the video for the first time.
        """
        silence = options.sync_mode is SyncMode.SILENCE
        if info.kind == decoder_pb2.MediaInfo.KIND_PHOTO or len(analysis.pts) == 1:
            self._check(spoken)
            return options, min(spoken - self.begin, self.seconds)
        begin, end = _used(info, options)
        self._check(end - begin if silence else min(spoken, end - begin))
        first = int(analysis.pts[0]) * analysis.time_base - (to_fraction(info.video.start_time) or 0)
        start, end = begin + self.begin - first, min(end, begin + self.begin + self.seconds) - first
        mode = SyncMode.CUT_OFF if options.sync_mode is SyncMode.REMAP else options.sync_mode
        narrowed = replace(options, start=max(round(float(start), 6), 0.0), end=round(float(end), 6), sync_mode=mode)
        return narrowed, self.seconds if silence else min(spoken - self.begin, self.seconds)

    def _check(self, length: Fraction) -> None:
        if self.at >= length:
            message = f"time is {float(self.at):g} s; this job's video can be previewed up to {float(length):.2f} s"
            raise Refusal("INVALID_OPTION", message, field="time")


def _used(info: decoder_pb2.MediaInfo, options: JobOptions) -> tuple[Fraction, Fraction]:
    """From when to when a job uses its video, in seconds from the first frame on."""
    begin, end = Fraction(str(options.start or 0)), to_fraction(info.duration) or Fraction(0)
    return begin, end if options.end is None else min(end, Fraction(str(options.end)))
