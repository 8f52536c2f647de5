"""What report.json says of people: who is in the source, who was driven, and why."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.orchestrator.analysis import Analysis
from services.orchestrator.casting import Cast
from services.orchestrator.naming import find_box
from services.orchestrator.persons import Person, find_spans
from services.orchestrator.records import SegmentRecord
from services.orchestrator.report import report_frames


def report_faces(
    analysis: Analysis, cast: Cast, prepared: Sequence[Mapping[str, Any]], segments: Sequence[SegmentRecord]
) -> dict[str, Any]:
    """Who is in the source; for each speaker who it is, how chosen, how surely, and what was done to which frames."""
    speakers = [
        {
            "person": role.chosen.person.index,
            "chosen_by": role.chosen.how,
            "confidence": round(role.chosen.confidence, 3),
            "audio": role.audio,
            "start_seconds": role.start,
            "prepared": dict(prepared[number]),
            "frames": report_frames([(segment.details or {})["mouths"][number] for segment in segments]),
        }
        for number, role in enumerate(cast.roles)
    ]
    persons = [_report_person(analysis, person, cast) for person in cast.persons]
    return {"persons": persons, "persons_told_by": analysis.measure.name, "speakers": speakers}


def _report_person(analysis: Analysis, person: Person, cast: Cast) -> dict[str, Any]:
    """Times in seconds from the first frame on, boxes in pixels."""
    x, y, width, height = find_box(analysis, int(person.rows[person.frames[0]]))
    spans = find_spans(person, analysis.seconds)
    return {
        "index": person.index,
        "frames": len(person.frames),
        "first_seen": round(spans[0][0], 3),
        "box": {"x": round(x), "y": round(y), "width": round(width), "height": round(height)},
        "shown": [[round(start, 3), round(end, 3)] for start, end in spans],
        "likeness": round(person.likeness, 3),
        "voice": None if cast.voices is None else round(cast.voices[person.index], 3),
    }
