"""Who is in a source, who of them is driven, and with which speech."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from services.orchestrator.analysis import Analysis
from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.choice import FaceChoice
from services.orchestrator.naming import choose_by_box, choose_by_index, choose_by_photo
from services.orchestrator.options import JobOptions
from services.orchestrator.persons import Person, find_persons
from services.orchestrator.source import find_analysis
from services.orchestrator.speakers import Chosen, choose_speakers, find_voice_fits, score_persons
from services.orchestrator.stages import Metadata, Stages
from services.orchestrator.timeline import Timeline
from services.runtime.blobs import Rows
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread


@dataclass(frozen=True)
class Role:
    """A person of the source and what he or she is to say: an audio asset, from `start` (seconds) of the output on."""

    chosen: Chosen
    audio: str
    start: float


@dataclass(frozen=True)
class Cast:
    """`voices`: by index, how much of the source's own voice each person's mouth explains; None: nobody asked."""

    persons: Sequence[Person]
    voices: Mapping[int, float] | None
    roles: Sequence[Role]

    def shown_in(self, timeline: Timeline) -> "Cast":
        """Without those roles that no output frame shows; one is always left."""
        shown = [role for role in self.roles if (role.chosen.rows[timeline.source] >= 0).any()]
        return replace(self, roles=shown or self.roles[:1])


@dataclass(frozen=True)
class Casting:
    """`key`: of the analysis; `speech`: the source's own, (n,) float32 at SPEECH_RATE, None when silent."""

    stages: Stages
    artifacts: ArtifactStore
    key: str
    analysis: Analysis
    speech: Rows | None
    metadata: Metadata

    async def find_cast(self, options: JobOptions, audio: str) -> Cast:
        """Raises Refusal NO_FACE, FACE_NOT_FOUND, INVALID_OPTION."""
        seen = self.analysis
        persons = await in_thread(find_persons, seen.faces, seen.descriptions, seen.measure)
        if not persons:
            frames = len(self.analysis.pts)
            raise Refusal("NO_FACE", f"none of the video's frames ({frames}) shows a face", frames=frames)
        if options.speakers:
            roles = [
                Role(await self._choose(persons, speaker.face), speaker.audio, speaker.start)
                for speaker in options.speakers
            ]
            _refuse_twins(roles)
            return Cast(persons, None, roles)
        if not options.face.is_auto:
            return Cast(persons, None, [Role(await self._choose(persons, options.face), audio, 0.0)])
        if len(persons) == 1 or self.speech is None:
            return Cast(persons, None, [Role(one, audio, 0.0) for one in choose_speakers(self.analysis, persons, ())])
        fits = await find_voice_fits(
            self.stages, self.artifacts, self.key, self.analysis, persons, self.speech, self.metadata
        )
        chosen = choose_speakers(self.analysis, persons, fits)
        return Cast(persons, score_persons(persons, fits), [Role(one, audio, 0.0) for one in chosen])

    async def _choose(self, persons: Sequence[Person], face: FaceChoice) -> Chosen:
        if face.index is not None:
            return choose_by_index(self.analysis, persons, face.index)
        if face.box is not None:
            return choose_by_box(self.analysis, persons, face.box)
        assert face.reference is not None
        info = await self.stages.inspect(face.reference, self.metadata)
        if not info.HasField("video"):
            raise Refusal("INVALID_OPTION", "the reference has no picture; give a photo", field="face.reference")
        _, photo = await find_analysis(self.stages, self.artifacts, face.reference, self.metadata, lambda frames: None)
        return choose_by_photo(self.analysis, persons, photo)


def _refuse_twins(roles: Sequence[Role]) -> None:
    """Two speeches cannot be put into one mouth."""
    first: dict[int, int] = {}
    for number, role in enumerate(roles, 1):
        index = role.chosen.person.index
        if index in first:
            message = (
                f"speakers {first[index]} and {number} are the same person, face {index}: give each a face of its own"
            )
            raise Refusal("INVALID_OPTION", message, field="speakers", face=index)
        first[index] = number
