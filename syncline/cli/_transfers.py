"""Both ends of a job on the user's disk: what goes up, and the video and its report coming down."""

import json
from pathlib import Path

from syncline._files import NewFile
from syncline.cli._options import report_path
from syncline.cli._output import Output
from syncline.client import Client
from syncline.types import Asset, Job


def upload_both(client: Client, video: Path, audio: Path, output: Output) -> tuple[Asset, Asset]:
    return upload(client, video, "upload video", output), upload(client, audio, "upload audio", output)


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
