"""An upload whose server dies goes on at another one, from what is stored of it."""

import hashlib
import os
from pathlib import Path

import pytest

from services.orchestrator.uploads import PART_BYTES
from services.runtime.buckets import Bucket
from syncline import Client
from tests.end_to_end.cluster import Cluster
from tests.postgres import Postgres
from tests.s3 import S3Server

SIZE = 4 * PART_BYTES + 1000


@pytest.mark.parametrize("moment", [0.6, 1.0], ids=["while it is sent", "while it is stored"])
def test_an_upload_goes_on_at_another_server_when_its_own_is_killed(
    request: pytest.FixtureRequest, moment: float, s3: S3Server, postgres: Postgres, tmp_path: Path
) -> None:
    if moment == 1.0 and not request.config.getoption("chaos"):
        pytest.skip("make chaos runs this one")
    bucket = s3.new_bucket(f"uploads-{int(10 * moment)}")
    cluster = Cluster(tmp_path, postgres.new_database(), 0, artifacts=bucket, apis=2)
    (tmp_path / "film").write_bytes(os.urandom(SIZE))
    told: list[int] = []

    def strike(done: int, _total: int) -> None:
        told.append(done)
        first = cluster.processes["api"]
        if done >= moment * SIZE and first.poll() is None:
            first.kill()
            first.wait()

    servers = ",".join(map(cluster.address, ("api", "api2")))  # the first that answers
    try:
        for name in ("api", "api2"):
            cluster.start(name)
        for name in ("api", "api2"):
            cluster.await_ready(name)
        with Client(f"ipv4:{servers}") as client:
            stored = client.upload(tmp_path / "film", strike)
            assert client.upload(tmp_path / "film") == stored
    finally:
        cluster.__exit__(None, None, None)

    struck = next(place for place, done in enumerate(told) if done >= moment * SIZE)
    assert told[struck + 1] >= PART_BYTES, "it began anew"
    assert told[struck + 1] % PART_BYTES == 0 or told[struck + 1] == SIZE
    digest = hashlib.sha256((tmp_path / "film").read_bytes()).hexdigest()
    assert (stored.digest, stored.size_bytes) == (digest, SIZE)
    assert [(found.name[-64:], found.size) for found in Bucket(bucket).list("")] == [(digest, SIZE)]
    left = [path for path in (tmp_path / "api2").rglob("*") if path.is_file()]
    assert [path.name for path in left] == [digest]
