"""InspectAsset: what the decoder says of a file, and what else is worth knowing before a job."""

from services.orchestrator.advice import advise_on_faces, advise_on_length, advise_on_sound, advise_on_speed
from services.orchestrator.analysis import Analysis, analysis_key, load_analysis
from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.convert import from_person
from services.orchestrator.hearing import listen
from services.orchestrator.persons import find_persons
from services.orchestrator.source import find_analysis
from services.orchestrator.speed import measure_speeds
from services.orchestrator.stages import Metadata, Stages
from services.orchestrator.store import JobStore
from services.orchestrator.timeline import SyncMode
from services.runtime.convert import to_fraction
from services.runtime.streams import in_thread
from syncline.errors import SynclineError
from syncline.v1 import decoder_pb2
from syncline.v1 import orchestrator_pb2 as pb


async def inspect_asset(
    stages: Stages, artifacts: ArtifactStore, store: JobStore, request: pb.InspectAssetRequest
) -> pb.InspectAssetResponse:
    """Raises Refusal ASSET_NOT_FOUND, NO_AUDIO for a speech without sound, and whatever the decoder says."""
    for digest in filter(None, (request.digest, request.speech)):
        await in_thread(artifacts.get_asset, digest)
    info = await stages.inspect(request.digest)
    has_video = info.HasField("video")
    response = pb.InspectAssetResponse()
    if info.HasField("audio"):
        info.advice.extend(await advise_on_own_sound(stages, artifacts, request.digest, has_video))
    if request.speech:
        info.advice.extend(await advise_on_speech(stages, artifacts, info, request.speech))
    analysis = await _find_analysis(stages, artifacts, request) if has_video else None
    if analysis is not None:
        persons = await in_thread(find_persons, analysis.faces, analysis.descriptions, analysis.measure)
        info.advice.extend(await in_thread(list, advise_on_faces(analysis, persons)))
        if request.persons:
            response.persons.extend(from_person(analysis, person) for person in persons)
    if has_video:
        info.advice.extend(advise_on_speed(await in_thread(measure_speeds, store, artifacts)))
    response.info.CopyFrom(info)
    return response


async def _find_analysis(stages: Stages, artifacts: ArtifactStore, request: pb.InspectAssetRequest) -> Analysis | None:
    """Made now where persons are asked for; else the one that is kept."""
    if request.persons:
        return (await find_analysis(stages, artifacts, request.digest, (), lambda frames: None))[1]
    key = analysis_key(request.digest, await stages.engine("decoder"), await stages.engine("detector"))
    return await in_thread(load_analysis, artifacts, key)


async def advise_on_own_sound(
    stages: Stages, artifacts: ArtifactStore, digest: str, has_video: bool
) -> list[decoder_pb2.Advice]:
    try:
        heard = await listen(stages, artifacts, digest)
    except SynclineError as error:  # a video with a broken sound track is a silent one
        return [decoder_pb2.Advice(code="UNUSABLE_AUDIO", message=f"The sound cannot be used: {error}")]
    return list(advise_on_sound(heard, "The video's own sound" if has_video else "The sound"))


async def advise_on_speech(
    stages: Stages,
    artifacts: ArtifactStore,
    info: decoder_pb2.MediaInfo,
    speech: str,
    sync_mode: SyncMode | None = None,
    metadata: Metadata = (),
) -> list[decoder_pb2.Advice]:
    """About a speech by itself, and beside the video or photo that is to say it. Raises what the decoder says of it."""
    heard = await listen(stages, artifacts, speech, metadata)
    advice = list(advise_on_sound(heard, "The speech"))
    duration = to_fraction(info.duration)
    if info.kind == decoder_pb2.MediaInfo.KIND_VIDEO and duration is not None:
        length = to_fraction((await stages.inspect(speech, metadata)).duration)
        advice += advise_on_length(duration, length or duration, sync_mode)
    return advice
