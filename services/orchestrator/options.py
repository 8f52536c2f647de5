"""A job's options: their defaults, their ranges, and how the store keeps them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from services.orchestrator.choice import AUTO, FaceChoice, Speaker, check_speakers
from services.orchestrator.timeline import SyncMode
from services.runtime.refusal import Refusal

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


@dataclass(frozen=True, slots=True)
class JobOptions:
    """As JobOptions in orchestrator.proto, with the job's speakers. Raises Refusal INVALID_OPTION out of range."""

    sync_mode: SyncMode = SyncMode.CUT_OFF
    crf: int = 18
    preset: str = "veryfast"
    restorer_strength: float = 1.0
    face: FaceChoice = AUTO
    speakers: tuple[Speaker, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= 51:
            raise Refusal("INVALID_OPTION", f"crf is {self.crf}; the range is 0 to 51", field="crf")
        if self.preset not in PRESETS:
            message = f"preset is {self.preset!r}; it is one of {', '.join(PRESETS)}"
            raise Refusal("INVALID_OPTION", message, field="preset")
        if not 0 <= self.restorer_strength <= 1:
            message = f"restorer_strength is {self.restorer_strength:g}; the range is 0 to 1"
            raise Refusal("INVALID_OPTION", message, field="restorer_strength")
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
