"""What a client asks for: whose lips, and what each of them is to say."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.runtime.refusal import Refusal

MOST_SPEAKERS = 8  # as many faces as the detector follows
_LONGEST_START = 24 * 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class FaceBox:
    """As FaceBox in orchestrator.proto. Raises Refusal INVALID_OPTION for a box that is none."""

    x: float
    y: float
    width: float
    height: float
    time: float = 0.0  # seconds from the first frame on
    fractions: bool = False  # of the picture's width and height; else pixels

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.x, self.y, self.width, self.height, self.time))):
            raise Refusal("INVALID_OPTION", "the numbers of a face's box must be finite", field="face.box")
        if self.width <= 0 or self.height <= 0:
            message = f"a face's box is {self.width:g} wide and {self.height:g} high; both must be above 0"
            raise Refusal("INVALID_OPTION", message, field="face.box")
        if self.time < 0:
            message = f"the time of a face's box is {self.time:g} s; it counts from 0, the first frame"
            raise Refusal("INVALID_OPTION", message, field="face.box.time")


@dataclass(frozen=True, slots=True)
class FaceChoice:
    """As FaceChoice in orchestrator.proto; nothing set: auto."""

    index: int | None = None
    box: FaceBox | None = None
    reference: str | None = None  # digest of a photo

    def __post_init__(self) -> None:
        if self.index is not None and self.index < 1:
            raise Refusal("INVALID_OPTION", f"face index is {self.index}; faces count from 1", field="face.index")

    @property
    def is_auto(self) -> bool:
        return self == AUTO

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "FaceChoice":
        box = values["box"]
        return cls(values["index"], None if box is None else FaceBox(**box), values["reference"])


AUTO = FaceChoice()


@dataclass(frozen=True, slots=True)
class Speaker:
    """As Speaker in orchestrator.proto: one face and its own speech."""

    face: FaceChoice
    audio: str  # digest
    start: float = 0.0  # seconds of the output

    def __post_init__(self) -> None:
        if self.face.is_auto:
            message = "each speaker must name a face: by its index, a box, or a reference photo"
            raise Refusal("INVALID_OPTION", message, field="speakers.face")
        if not 0 <= self.start <= _LONGEST_START:
            message = f"a speaker's start is {self.start:g} s; the range is 0 to {_LONGEST_START:g}"
            raise Refusal("INVALID_OPTION", message, field="speakers.start")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Speaker":
        return cls(FaceChoice.from_json(values["face"]), values["audio"], values["start"])


def check_speakers(speakers: tuple[Speaker, ...], face: FaceChoice) -> None:
    """Raises Refusal INVALID_OPTION for speakers that cannot go together."""
    if len(speakers) > MOST_SPEAKERS:
        message = f"there are {len(speakers)} speakers; a job may have up to {MOST_SPEAKERS}"
        raise Refusal("INVALID_OPTION", message, field="speakers")
    if speakers and not face.is_auto:
        message = "with speakers, each names its own face: leave the option face unset"
        raise Refusal("INVALID_OPTION", message, field="face")
