"""Hosts that share nothing but a bucket and a database, each service with a folder of its own."""

import hashlib
import urllib.request
from pathlib import Path

import pytest

from services.runtime.buckets import Bucket
from syncline import Client
from syncline.errors import OutputForbidden, UrlUnavailable
from tests.end_to_end.cluster import Cluster
from tests.postgres import Postgres
from tests.s3 import S3Server


def test_a_job_on_hosts_of_their_own_ends_as_on_one(
    s3: S3Server, postgres: Postgres, client: Client, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts, results = s3.new_bucket("shared"), s3.new_bucket("results")
    monkeypatch.setenv("ORCHESTRATOR_OUTPUT_BUCKETS", f"{results}/videos")
    files = media / "portrait.mp4", media / "long.wav"
    alone = client.result(client.create_job(*map(client.upload, files), sync_mode="bounce"))
    with pytest.raises(UrlUnavailable):
        client.download_url(alone)

    with (
        Cluster(
            tmp_path, postgres.new_database(), segment_seconds=4.0, artifacts=f"{artifacts}/some/prefix"
        ) as cluster,
        Client(cluster.server) as distant,
    ):
        assets = [distant.upload(path) for path in files]
        with pytest.raises(OutputForbidden):
            distant.create_job(*assets, output_uri=results)
        job = distant.create_job(*assets, sync_mode="bounce", output_uri=f"{results}/videos/anna")
        done = distant.result(job)
        signed = distant.download_url(done, 60)
        with urllib.request.urlopen(signed.url) as answer:
            fetched = answer.read()
        downloaded = distant.download(done, tmp_path / "out.mp4").read_bytes()
        report = distant.report(done)

    assert alone.result is not None
    assert done.result == alone.result
    assert hashlib.sha256(fetched).hexdigest() == hashlib.sha256(downloaded).hexdigest() == alone.result.digest
    name = job.name.removeprefix("jobs/")
    written = {stored.name: stored.size for stored in Bucket(results).list("")}
    assert written.keys() == {f"videos/anna/{name}.mp4", f"videos/anna/{name}.report.json"}
    assert written[f"videos/anna/{name}.mp4"] == len(fetched)
    assert report["result"]
