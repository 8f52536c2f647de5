"""A job's options: their defaults, their ranges, and how the store keeps them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from services.orchestrator.choice import AUTO, FaceChoice, Speaker, check_speakers
from services.orchestrator.timeline import SyncMode
from services.runtime.refusal import Refusal

# Least and most of what has a number.
RANGES = {
    "crf": (0, 51),
    "restorer_strength": (0, 1),
    "mouth_intensity": (0.5, 1.5),
    "smoothing": (0, 1),
    "closure_strength": (0, 1),
    "padding": (0.5, 1.5),
    "idle_motion": (0, 1),
}
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


@dataclass(frozen=True, slots=True)
class JobOptions:
    """As JobOptions in orchestrator.proto, with the job's speakers. Raises Refusal INVALID_OPTION out of range."""

    sync_mode: SyncMode = SyncMode.CUT_OFF
    crf: int = 18
    preset: str = "veryfast"
    restorer_strength: float = 1.0
    mouth_intensity: float = 1.0
    smoothing: float = 0.2
    closure_strength: float = 0.5
    padding: float = 1.0
    idle_motion: float = 0.0
    face: FaceChoice = AUTO
    speakers: tuple[Speaker, ...] = ()

    def __post_init__(self) -> None:
        for field, (low, high) in RANGES.items():
            value = getattr(self, field)
            if not low <= value <= high:  # nor is a NaN
                raise Refusal("INVALID_OPTION", f"{field} is {value:g}; the range is {low:g} to {high:g}", field=field)
        if self.preset not in PRESETS:
            message = f"preset is {self.preset!r}; it is one of {', '.join(PRESETS)}"
            raise Refusal("INVALID_OPTION", message, field="preset")
        check_speakers(self.speakers, self.face)

    @classmethod
    def from_json(cls, options: Mapping[str, Any]) -> "JobOptions":
        kept = {
            "sync_mode": SyncMode(options["sync_mode"]),
            "face": FaceChoice.from_json(options["face"]) if "face" in options else AUTO,
            "speakers": tuple(map(Speaker.from_json, options.get("speakers", ()))),
        }
        return cls(**{**options, **kept})

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "sync_mode": int(self.sync_mode)}
