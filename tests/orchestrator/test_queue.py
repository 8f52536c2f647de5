"""Who is served when, what is taken in, what is forgotten: priorities, turns, quotas, deadlines, batches, clean-up."""

import os
import time
from collections import Counter
from pathlib import Path

import pytest

from services.orchestrator.artifacts import ArtifactStore, Asset
from services.orchestrator.keeper import Keeper
from services.orchestrator.records import JobFilter, JobState, Limits, NewJob
from services.orchestrator.store import JobStore
from services.orchestrator.timeline import SegmentSpan
from services.runtime.config import ConfigError
from tests.orchestrator.test_store import (
    AUDIO,
    LONG,
    MADE,
    REPORT,
    RUN_OUT,
    SPANS,
    USELESS,
    VIDEO,
    claim,
    create,
    refused,
)


def serve_all(store: JobStore) -> list[str]:
    """The jobs in the order in which they are claimed, each done before the next."""
    served = []
    while (claimed := store.claim_job("worker", LONG)) is not None:
        store.finish_job(claimed[1], MADE, REPORT)
        served.append(claimed[0].id)
    return served


def test_higher_priorities_go_first_and_equal_ones_in_order(store):
    low, middle, high, next_middle = (create(store, priority=priority) for priority in (-5, 0, 5, 0))
    assert serve_all(store) == [high, middle, next_middle, low]
    assert store.get_job(high).priority == 5


def test_tenants_take_turns_however_many_jobs_one_has(store):
    greedy = [create(store, tenant="greedy") for _ in range(6)]
    modest = [create(store, tenant="modest") for _ in range(2)]
    served = [store.get_job(job).tenant for job in serve_all(store)]
    assert served == ["greedy", "modest"] * 2 + ["greedy"] * 4
    assert len(greedy) + len(modest) == len(served)


def test_a_tenant_that_was_away_gets_no_more_than_its_share(store):
    for _ in range(4):
        create(store, tenant="busy")
    serve_all(store)
    for _ in range(3):
        create(store, tenant="busy")
        create(store, tenant="back")
    turns = [store.get_job(job).tenant for job in serve_all(store)]
    assert Counter(turns[:4]) == {"busy": 2, "back": 2}


def test_over_the_limit_is_refused_with_a_reason_and_room_is_found_again(url):
    store = JobStore(url, Limits(jobs=3, tenant_jobs=2))
    first = create(store, tenant="a")
    create(store, tenant="a")
    assert refused(lambda: create(store, tenant="a")) == "QUOTA_EXCEEDED"
    create(store, tenant="b")
    assert refused(lambda: create(store, tenant="c")) == "QUEUE_FULL"
    assert refused(lambda: store.create_batch([NewJob(VIDEO, AUDIO, {})] * 2)) == "QUEUE_FULL"
    store.cancel_job(first)
    create(store, tenant="a")
    assert refused(lambda: store.retry_job(first)) == "QUEUE_FULL"
    store.close()


def test_minutes_and_bytes_of_a_tenant_are_bounded(url):
    store = JobStore(url, Limits(tenant_minutes=1.0, tenant_bytes=1000))
    job = create(store, tenant="a")
    lease = claim(store)
    store.plan_segments(lease, "plan", SPANS, duration=61.0)
    assert refused(lambda: create(store, tenant="a")) == "QUOTA_EXCEEDED"
    create(store, tenant="b")
    store.put_asset(Asset(VIDEO, 900), "a")
    store.check_room("a", 100)
    store.check_room("b", 1000)
    assert refused(lambda: store.check_room("a", 101)) == "QUOTA_EXCEEDED"
    assert store.get_job(job).tenant == "a"
    store.close()


def test_a_job_past_its_deadline_fails_and_its_worker_loses_it(store):
    soon = int(time.time() * 1000) + 2000
    waiting, running = create(store, deadline=soon), create(store, deadline=soon, priority=1)
    later = create(store, deadline=soon + 3_600_000)
    lease = claim(store)
    assert lease.job == running
    assert store.end_late_jobs() == 0
    time.sleep(max(0.0, soon / 1000 - time.time()) + 0.1)
    assert store.end_late_jobs() == 2
    assert not store.heartbeat(lease, LONG)
    for job in (waiting, running):
        assert (store.get_job(job).state, store.get_job(job).error.reason) == (JobState.FAILED, "JOB_EXPIRED")
    assert store.get_job(later).state is JobState.QUEUED


def test_a_retry_goes_on_from_the_last_good_segment(store):
    job = create(store)
    lease = claim(store)
    store.plan_segments(lease, "plan", SPANS)
    store.finish_segment(store.claim_segment(job, "worker", LONG)[1], MADE)
    _, broken = store.claim_segment(job, "worker", LONG)
    failed = store.release(lease, USELESS)
    assert failed.state is JobState.FAILED

    again = store.retry_job(job)
    assert (again.state, again.error, again.end_time) == (JobState.QUEUED, None, None)
    assert store.retry_job(job) == again
    lease = claim(store, "next")
    assert [part.state for part in store.plan_segments(lease, "plan", SPANS)] == ["DONE", "QUEUED", "QUEUED"]
    assert refused(lambda: store.finish_segment(broken, MADE)) == "LEASE_LOST"
    for _ in range(2):
        store.finish_segment(store.claim_segment(job, "next", LONG)[1], MADE)
    store.finish_job(lease, MADE, REPORT)
    assert refused(lambda: store.retry_job(job)) == "JOB_DONE"
    assert [event.job.state for event in store.events_after(job, 0)][-1] is JobState.DONE


def test_only_what_has_ended_is_deleted(store):
    job = create(store)
    assert refused(lambda: store.delete_job(job)) == "JOB_NOT_ENDED"
    store.cancel_job(job)
    store.delete_job(job)
    for call in (store.get_job, store.delete_job, store.retry_job, store.cancel_job):
        assert refused(lambda call=call: call(job)) == "JOB_NOT_FOUND"


def test_lists_are_filtered(store):
    jobs = {tenant: [create(store, tenant=tenant) for _ in range(3)] for tenant in ("a", "b")}
    store.cancel_job(jobs["a"][0])

    def listed(**wanted) -> list[str]:
        page = store.list_jobs(2, "", JobFilter(**wanted))
        found = [job.id for job in page.jobs]
        while page.next_page_token:
            page = store.list_jobs(2, page.next_page_token, JobFilter(**wanted))
            found += [job.id for job in page.jobs]
        return found

    assert listed(tenant="a") == jobs["a"][::-1]
    assert listed(states=(JobState.CANCELLED, JobState.DONE)) == [jobs["a"][0]]
    assert listed(states=(JobState.QUEUED,), tenant="b") == jobs["b"][::-1]
    assert listed(batch="none") == []


def test_a_batch_is_created_once_counted_and_cancelled(store):
    jobs = [NewJob(VIDEO, AUDIO, {"crf": crf}) for crf in range(3)]
    batch = store.create_batch(jobs, "request")
    assert batch.counts == {JobState.QUEUED: 3}
    assert store.create_batch(jobs, "request") == batch
    assert refused(lambda: store.create_batch(jobs[:2], "request")) == "REQUEST_REUSED"
    assert store.create_batch(jobs).id != batch.id
    lease = claim(store)
    assert [job.options["crf"] for job in store.list_jobs(50, "", JobFilter(batch=batch.id)).jobs] == [2, 1, 0]
    store.finish_job(lease, MADE, REPORT)
    assert store.cancel_batch(batch.id).counts == {JobState.DONE: 1, JobState.CANCELLED: 2}
    assert refused(lambda: store.get_batch("none")) == "BATCH_NOT_FOUND"


def test_a_worker_without_a_job_helps_with_segments(store):
    job = create(store)
    assert store.claim_help("helper", LONG) is None
    lease = claim(store)
    assert store.claim_help("helper", LONG) is None  # not planned yet
    store.plan_segments(lease, "plan", [SegmentSpan(index, index, 1) for index in range(2)])
    store.claim_segment(job, "worker", LONG)
    found, segment, helping = store.claim_help("helper", LONG)
    assert (found.id, found.plan, segment.index) == (job, "plan", 1)
    assert store.claim_help("another", LONG) is None
    store.finish_segment(helping, MADE)
    assert store.get_job(job).progress.done_segments == 1


def test_lighter_jobs_beside_a_heavy_one_are_seen_and_helpers_keep_free_for_them(store):
    heavy = create(store)
    lease = claim(store)
    spans = [SegmentSpan(index, index * 100, 100) for index in range(3)]
    store.plan_segments(lease, "plan", spans, 12, 8_000_000)
    work = 300 * 8000
    assert not store.has_lighter(heavy, work)
    light = create(store)
    other = claim(store)
    assert not store.has_lighter(heavy, work)  # nobody knows yet
    store.plan_segments(other, "plan", [SegmentSpan(0, 0, 13)], 0.5, 262_000)
    assert store.has_lighter(heavy, work)
    assert not store.has_lighter(heavy, 4 * 3405)  # there is little left of it
    assert not store.has_lighter(light, 3406)
    _, rendering = store.claim_segment(light, "worker", LONG)
    assert store.claim_help("helper", LONG, gives_way=True) is None
    store.finish_segment(rendering, MADE)
    store.finish_job(other, MADE, REPORT)
    assert store.has_lighter(heavy, work)  # there may be more like it
    assert store.claim_help("helper", LONG, gives_way=True) is None
    assert store.claim_help("helper", LONG) is not None


def test_an_urgent_job_is_not_slowed_for_one_that_is_less_so(store):
    urgent = create(store, priority=1)
    lease = claim(store)
    store.plan_segments(lease, "plan", SPANS, 12, 8_000_000)
    create(store)
    lost = create(store, priority=2)
    store.claim_job("dies", RUN_OUT)
    assert store.claim_waiting_job("helper", LONG, 1) is None  # who helps takes over nothing
    assert claim(store).job == lost
    store.plan_segments(store.claim_waiting_job("helper", LONG, 0)[1], "plan", [SegmentSpan(0, 0, 13)], 0.5, 262_000)
    assert not store.has_lighter(urgent, 300 * 8000)


def test_a_long_job_lets_the_others_go_first_in_turn(store):
    long = create(store)
    lease = claim(store)
    store.plan_segments(lease, "plan", SPANS)
    assert not store.yield_turn(lease)  # nobody waits
    create(store, priority=-1)
    assert not store.yield_turn(lease)  # nobody as urgent
    short = [create(store) for _ in range(2)]
    _, rendering = store.claim_segment(long, "helper", LONG)
    assert not store.yield_turn(lease)  # a helper would lose its segment
    store.finish_segment(rendering, MADE)

    assert store.yield_turn(lease)
    assert not store.heartbeat(lease, LONG)
    first = claim(store)
    assert first.job == short[0]
    store.finish_job(first, MADE, REPORT)
    again = claim(store)
    assert again.job == long
    assert [part.state for part in store.plan_segments(again, "plan", SPANS)] == ["DONE", "QUEUED", "QUEUED"]
    assert store.yield_turn(again)
    assert claim(store).job == short[1]


def test_estimates_come_from_the_latest_done_jobs(store):
    assert store.latest_costs() == []
    create(store)
    lease = claim(store)
    spans = [SegmentSpan(0, 0, 50)]
    store.plan_segments(lease, "plan", spans, 2.0, 4000)
    store.finish_segment(store.claim_segment(lease.job, "worker", LONG)[1], MADE)
    store.finish_job(lease, MADE, REPORT)
    (cost,) = store.latest_costs()
    assert (cost.work, cost.result_bytes) == (200, MADE.size)
    create(store, priority=1)
    create(store)
    assert store.count_ahead(NewJob(VIDEO, AUDIO, {})) == 2
    assert store.count_ahead(NewJob(VIDEO, AUDIO, {}, priority=2)) == 0


def age(root: Path, seconds: float) -> None:
    """Makes every file look as if it had been touched so long ago."""
    then = time.time() - seconds
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


def test_old_jobs_and_files_nobody_needs_go_and_the_rest_stays(store, tmp_path):
    artifacts = ArtifactStore(tmp_path / "files")
    video, audio, unused, orphan, part = (
        artifacts.put([name.encode()]) for name in ("video", "audio", "unused", "orphan", "part")
    )
    for asset in (video, audio, unused):
        store.put_asset(asset)
    artifacts.put_artifact("analysis", "key", [b"faces"])

    done = store.create_job(NewJob(video.digest, audio.digest, {})).id
    lease = claim(store)
    store.plan_segments(lease, "plan", SPANS[:1])
    store.finish_segment(store.claim_segment(done, "worker", LONG)[1], part)
    keeper = Keeper(store, artifacts, keep_seconds=3600)
    age(tmp_path / "files", 2 * 3600)
    artifacts.put([b"just written"])
    keeper.sweep()
    assert artifacts.find_asset(orphan.digest) is None
    assert artifacts.get_artifact("analysis", "key") is None
    for asset in (video, audio, unused, part):  # unused was uploaded within the hour
        assert artifacts.find_asset(asset.digest) == asset
    assert sum(1 for path in (tmp_path / "files" / "assets").glob("*/*")) == 5

    store.finish_job(lease, video, audio)  # any files that are there
    age(tmp_path / "files", 2 * 3600)
    keeper.sweep()
    assert artifacts.find_asset(part.digest) is None  # it lies in the result
    assert artifacts.find_asset(video.digest) == video

    Keeper(store, artifacts, keep_seconds=-1).sweep()
    assert store.list_jobs().jobs == []
    assert not list((tmp_path / "files" / "assets").glob("*/*"))


def test_a_full_disk_refuses_before_it_is_full(tmp_path):
    artifacts = ArtifactStore(tmp_path, free_bytes=1 << 60)
    assert refused(lambda: artifacts.open_upload("a" * 64, 10)) == "DISK_FULL"
    assert refused(artifacts.check_room) == "DISK_FULL"
    there = artifacts.put([b"there"])
    assert artifacts.open_upload(there.digest, there.size).offset == there.size


def test_an_sqlite_file_is_for_one_orchestrator(tmp_path):
    url = f"sqlite:///{tmp_path}/jobs.db"
    first, second = JobStore(url), JobStore(url)
    first.take_alone()
    with pytest.raises(ConfigError, match="postgresql"):
        second.take_alone()
    first.close()
    second.take_alone()
    second.close()


def test_a_database_out_of_reach_is_an_error_that_passes(postgres):
    store = JobStore(postgres.new_database())
    job = create(store)
    postgres.stop()
    try:
        assert refused(lambda: store.get_job(job)) == "SERVICE_UNAVAILABLE"
        assert refused(lambda: create(store)) == "SERVICE_UNAVAILABLE"
    finally:
        postgres.start()
    assert store.get_job(job).state is JobState.QUEUED
    store.close()
