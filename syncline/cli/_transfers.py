"""Both ends of a job on the user's disk: what goes up, and the video and its report coming down."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from syncline._files import NewFile
from syncline.cli._faces import parse_face, parse_speaker, upload_face
from syncline.cli._options import report_path
from syncline.cli._output import Output
from syncline.client import Client
from syncline.types import Asset, Job, NewJob, Options, Speaker


def bring_job(
    client: Client,
    video: Path,
    audio: Path | None,
    face: str,
    speakers: Sequence[str],
    options: Options,
    output: Output,
    priority: int = 0,
    deadline: datetime | None = None,
    webhook: str = "",
) -> NewJob:
    """Uploads all files of a job. Raises typer.BadParameter for words that name no face or speaker."""
    if (audio is None) == (not speakers):
        raise typer.BadParameter("give either AUDIO or --speaker FACE=AUDIO", param_hint="AUDIO")
    wanted = parse_face(face)
    spoken = [parse_speaker(speaker) for speaker in speakers]

    def send(path: Path, role: str) -> Asset:
        return upload(client, path, role, output)

    uploaded = send(video, "upload video")
    if (background := options.get("background_audio")) is not None:
        options["background_audio"] = send(Path(str(background)), "upload background audio")
    if wanted is not None:
        options["face"] = upload_face(wanted, send)
    heard = None if audio is None else send(audio, "upload audio")
    said = tuple(Speaker(upload_face(one.face, send), send(one.audio, "upload audio"), one.start) for one in spoken)
    return NewJob(uploaded, heard, options, priority, deadline, said, webhook)


def queue_job(client: Client, new: NewJob) -> Job:
    terms: Any = {"speakers": new.speakers, "priority": new.priority, "deadline": new.deadline, "webhook": new.webhook}
    return client.create_job(new.video, new.audio, **terms, **new.options)


def upload(client: Client, path: Path, role: str, output: Output) -> Asset:
    """`role` names the transfer on a terminal."""
    asset = client.upload(path, output.transfer(role))
    output.uploaded(path, asset.digest)
    return asset


def save(client: Client, job: Job, out: Path, output: Output) -> None:
    """Raises the job's error when there is nothing to save."""
    client.download(job, out, output.transfer("download"))
    with NewFile(report_path(out)) as target:
        target.file.write(json.dumps(client.report(job), indent=2, ensure_ascii=False).encode() + b"\n")
        target.keep()
    output.written(out, report_path(out))
