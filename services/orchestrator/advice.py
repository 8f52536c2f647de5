"""What a person might do about the files of a job, with numbers, beside the decoder's advice, which sees one file."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

import numpy as np

from services.orchestrator.analysis import Analysis
from services.orchestrator.hearing import Heard
from services.orchestrator.persons import Person
from services.orchestrator.speed import Speed
from services.orchestrator.timeline import SyncMode
from syncline.v1 import decoder_pb2

_LITTLE_SPEECH = 0.3  # seconds
_MANY_CUTS = 0.2  # peaks a second
_SMALL_FACE = 80  # pixels, width
_TURNED = 35  # degrees to the side, from which half of the mouth is hardly seen
_OFTEN = 0.2  # of a person's frames
_LOOKS = 200  # frames of a person that are looked at
_DIFFER = Fraction(1, 4)  # seconds
_EARS = 234, 454  # outer ends of the face in the mesh, left and right in an upright picture
_VOLUME, _PUBLISHING = 720, 1080  # lines


def advise_on_sound(heard: Heard, of: str) -> Iterator[decoder_pb2.Advice]:
    """`of`: whose sound it is, as a sentence begins with it."""
    if heard.voiced_seconds < _LITTLE_SPEECH:
        yield _advice(
            "NO_SPEECH",
            f"{of} has no speech: nothing stands out of its background for more than {heard.voiced_seconds:.1f} of "
            f"{heard.seconds:.1f} s (peak {heard.peak:.0f} dBFS).",
        )
    if heard.cut_peaks >= max(_MANY_CUTS * heard.seconds, 3):
        yield _advice(
            "CLIPPED_AUDIO",
            f"{of} is clipped: {heard.cut_peaks} peaks are cut off at full scale, "
            f"{heard.cut_peaks / heard.seconds:.1f} a second. Record it again "
            "with less gain; lips follow a distorted voice less well.",
        )


def advise_on_length(
    video: Fraction, speech: Fraction, sync_mode: SyncMode | None = None
) -> Iterator[decoder_pb2.Advice]:
    """Of both in seconds. `sync_mode`: what a job asks for; None: no job yet."""
    if abs(video - speech) <= _DIFFER:
        return
    told = f"The video lasts {float(video):.2f} s and the speech {float(speech):.2f} s"
    rest = f"{float(abs(speech - video)):.2f} s"
    if speech > video:
        advice = f"cut_off and silence leave out the last {rest} of the speech; loop, bounce, hold and remap do not."
    else:
        advice = f"the last {rest} of the video are left out, but by silence and remap."
    chosen = f" This job's sync mode is {sync_mode.name.lower()}." if sync_mode is not None else ""
    yield _advice("LENGTH_MISMATCH", f"{told}: {advice}{chosen}")


def advise_on_faces(analysis: Analysis, persons: Sequence[Person]) -> Iterator[decoder_pb2.Advice]:
    if not persons:
        yield _advice("NO_FACE", f"No face is seen in any of the {len(analysis.pts)} frames.")
    for person in persons:
        rows = person.rows[person.frames][:: max(1, len(person.frames) // _LOOKS)]
        across = np.array([analysis.meshes[row][_EARS[1]] - analysis.meshes[row][_EARS[0]] for row in rows])
        width = float(np.median(np.linalg.norm(across, axis=1)))
        turned = float((np.abs(np.degrees(np.arctan2(across[:, 2], across[:, 0]))) > _TURNED).mean())
        if width < _SMALL_FACE:
            yield _advice(
                "SMALL_FACE",
                f"Face {person.index} is {width:.0f} pixels wide: from {_SMALL_FACE} on lips have detail enough. Film "
                "closer, or send the larger original.",
            )
        if turned > _OFTEN:
            yield _advice(
                "TURNED_FACE",
                f"Face {person.index} is turned by more than {_TURNED} degrees in {turned:.0%} of its frames, where "
                "its mouth is left as it is or hardly changed.",
            )


def advise_on_speed(speeds: Mapping[int, Speed]) -> Iterator[decoder_pb2.Advice]:
    """`speeds`: what was measured here, by lines of the picture."""
    told = [
        f"at {lines} lines {speed.frames_per_second:.1f} frames a second were rendered"
        f" (median of {speed.jobs}; at most {speed.worker_megabytes:.0f} MB in the worker)"
        for lines, speed in sorted(speeds.items())
    ]
    missing = [f"{lines}" for lines in (_VOLUME, _PUBLISHING) if lines not in speeds]
    if missing:
        told.append(f"no job of {' or '.join(missing)} lines has been done yet")
    yield _advice(
        "MEASURED_SPEED",
        f"{_VOLUME} lines do for volume, {_PUBLISHING} for publishing. Here {'; '.join(told)}.",
    )


def _advice(code: str, message: str) -> decoder_pb2.Advice:
    return decoder_pb2.Advice(code=code, message=message)
