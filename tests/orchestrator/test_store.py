"""The job store: what is legal, what survives, and that two workers never hold one piece of work."""

import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.orchestrator import retrying
from services.orchestrator.artifacts import Asset
from services.orchestrator.records import (
    ErrorRecord,
    JobProgress,
    JobState,
    Lease,
    NewJob,
    Phase,
    SegmentState,
)
from services.orchestrator.schema import attempt, metadata
from services.orchestrator.store import JobStore
from services.orchestrator.timeline import SegmentSpan
from services.runtime.refusal import Refusal

VIDEO, AUDIO, MADE, REPORT = ("a" * 64, "b" * 64, Asset("c" * 64, 100), Asset("d" * 64, 10))
SPANS = [SegmentSpan(0, 0, 100), SegmentSpan(1, 100, 100), SegmentSpan(2, 200, 40)]
BROKEN = ErrorRecord("SERVICE_UNAVAILABLE", "the restorer broke off", {"service": "restorer"})
USELESS = ErrorRecord("NO_FACE", "none of the video's frames shows a face", {"frames": "100"})
LONG = 60  # seconds; no test lasts so long
RUN_OUT = -1  # seconds; a lease that has run out when it is given


def create(store: JobStore, **terms) -> str:
    return store.create_job(NewJob(VIDEO, AUDIO, {"crf": 18}, **terms)).id


def claim(store: JobStore, owner: str = "worker", seconds: float = LONG) -> Lease:
    claimed = store.claim_job(owner, seconds)
    assert claimed is not None
    return claimed[1]


def claim_planned(store: JobStore) -> Lease:
    create(store)
    lease = claim(store)
    store.plan_segments(lease, "plan", SPANS)
    return lease


def render_all(store: JobStore, job_id: str, owner: str = "worker") -> list[int]:
    done = []
    while (claimed := store.claim_segment(job_id, owner, LONG)) is not None:
        store.finish_segment(claimed[1], MADE)
        done.append(claimed[0].index)
    return done


def refused(call) -> str:
    with pytest.raises(Refusal) as refusal:
        call()
    return refusal.value.reason


def read_attempts(url: str) -> list[tuple]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        columns = (attempt.c.segment, attempt.c.owner, attempt.c.outcome)
        rows = [tuple(row) for row in connection.execute(sa.select(*columns).order_by(attempt.c.fence))]
    engine.dispose()
    return rows


# Jobs


def test_a_job_runs_from_queued_to_done_and_every_step_is_an_event(store):
    job_id = create(store)
    assert store.get_job(job_id).state is JobState.QUEUED
    lease = claim(store)
    assert store.heartbeat(lease, LONG, JobProgress(Phase.ANALYSE, 5, 240))
    store.plan_segments(lease, "plan", SPANS)
    assert render_all(store, job_id) == [0, 1, 2]
    done = store.finish_job(lease, MADE, REPORT)

    assert done == store.get_job(job_id)
    assert (done.state, done.result, done.report) == (JobState.DONE, MADE, REPORT)
    assert done.create_time <= done.start_time <= done.end_time
    assert abs(done.end_time / 1000 - time.time()) < 60
    events = store.events_after(job_id, 0)
    assert [event.number for event in events] == list(range(1, done.last_event + 1))
    assert [event.job.state for event in events] == ["QUEUED", *["RUNNING"] * 6, "DONE"]
    assert [event.job.progress.done_segments for event in events[-5:]] == [0, 1, 2, 3, 3]
    assert events[2].job.progress == JobProgress(Phase.ANALYSE, 5, 240, 0, 0)
    assert events[-1].job == done
    assert store.events_after(job_id, 6) == events[6:]


def test_creating_again_with_one_request_id_gives_the_same_job(store):
    first = store.create_job(NewJob(VIDEO, AUDIO, {"crf": 18, "preset": "fast"}), "request")
    assert store.create_job(NewJob(VIDEO, AUDIO, {"preset": "fast", "crf": 18}), "request") == first
    assert store.create_job(NewJob(VIDEO, AUDIO, {"crf": 18}), "another").id != first.id
    assert create(store) != create(store)

    assert refused(lambda: store.create_job(NewJob(VIDEO, AUDIO, {"crf": 19}), "request")) == "REQUEST_REUSED"
    assert refused(lambda: store.create_job(NewJob(AUDIO, AUDIO, first.options), "request")) == "REQUEST_REUSED"
    assert len(store.list_jobs().jobs) == 4


def test_listing_pages_from_the_newest_while_jobs_come_in(store):
    created = [create(store) for _ in range(7)]
    page = store.list_jobs(3)
    listed = [job.id for job in page.jobs]
    while page.next_page_token:
        create(store)
        page = store.list_jobs(3, page.next_page_token)
        listed += [job.id for job in page.jobs]

    assert listed == created[::-1]


@pytest.mark.parametrize("token", ["1", "!!!", "am9iczp4", "am9iczo5OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "ü", "' OR 1=1"])
def test_made_up_page_tokens_are_refused(store, token):
    assert refused(lambda: store.list_jobs(3, token)) == "INVALID_OPTION"


def test_unknown_jobs_are_not_found(store):
    for call in (store.get_job, store.cancel_job, store.list_segments, lambda name: store.events_after(name, 0)):
        assert refused(lambda call=call: call("nothing")) == "JOB_NOT_FOUND"


def test_a_failure_is_kept_whole(store):
    job_id = create(store)
    failed = store.release(claim(store), USELESS)

    assert failed.state is JobState.FAILED
    assert store.get_job(job_id).error == USELESS


def test_what_has_ended_stays_as_it_is(store):
    job_id = create(store)
    lease = claim(store)
    done = store.finish_job(lease, MADE, REPORT)

    assert store.cancel_job(job_id) == done
    assert refused(lambda: store.finish_job(lease, MADE, REPORT)) == "LEASE_LOST"
    assert refused(lambda: store.release(lease, USELESS)) == "LEASE_LOST"
    assert refused(lambda: store.release(lease)) == "LEASE_LOST"
    assert store.claim_job("worker", LONG) is None
    assert store.events_after(job_id, done.last_event) == []


def test_a_job_is_not_done_before_its_segments_are(store):
    lease = claim_planned(store)
    with pytest.raises(ValueError, match="not done"):
        store.finish_job(lease, MADE, REPORT)
    assert store.get_job(lease.job).state is JobState.RUNNING


def test_cancelling_takes_the_work_from_its_worker(store, url):
    waiting = create(store)
    assert store.cancel_job(waiting).state is JobState.CANCELLED
    assert store.claim_job("worker", LONG) is None

    lease = claim_planned(store)
    _, segment_lease = store.claim_segment(lease.job, "worker", LONG)
    store.cancel_job(lease.job)
    assert not store.heartbeat(lease, LONG)
    assert not store.heartbeat(segment_lease, LONG)
    assert refused(lambda: store.finish_segment(segment_lease, MADE)) == "LEASE_LOST"
    assert store.claim_segment(lease.job, "worker", LONG) is None
    assert read_attempts(url) == [(None, "worker", "CANCELLED"), (0, "worker", "CANCELLED")]


# Leases


def test_jobs_are_claimed_oldest_first_and_once(store):
    created = [create(store) for _ in range(3)]
    assert [claim(store).job for _ in created] == created
    assert store.claim_job("worker", LONG) is None


def test_a_lease_that_ran_out_is_claimed_again_and_the_late_one_refused(store, url):
    create(store)
    late = claim(store, "late", RUN_OUT)
    assert store.heartbeat(late, RUN_OUT)  # nobody wanted the job yet
    lease = claim(store, "next")

    assert (lease.job, lease.fence > late.fence) == (late.job, True)
    assert not store.heartbeat(late, LONG)
    for write in (
        lambda: store.finish_job(late, MADE, REPORT),
        lambda: store.release(late, USELESS),
        lambda: store.plan_segments(late, "plan", SPANS),
        lambda: store.release(late),
        lambda: store.note(late, "here I am"),
    ):
        assert refused(write) == "LEASE_LOST"
    assert store.heartbeat(lease, LONG)
    assert read_attempts(url) == [(None, "late", "LOST"), (None, "next", None)]


def test_a_worker_of_the_same_name_does_not_pass_for_its_dead_self(store):
    create(store)
    before = claim(store, "worker", RUN_OUT)
    claim(store, "worker")
    assert not store.heartbeat(before, LONG)


def test_a_heartbeat_keeps_the_lease(store):
    create(store)
    lease = claim(store, seconds=0.2)
    assert store.heartbeat(lease, LONG)
    time.sleep(0.3)
    assert store.claim_job("next", LONG) is None


def test_after_a_crash_finished_segments_stay_finished(store):
    create(store)
    crashed = claim(store, "crashed", RUN_OUT)
    store.plan_segments(crashed, "plan", SPANS)
    _, first = store.claim_segment(crashed.job, "crashed", LONG)
    store.finish_segment(first, MADE, {"synced": 100})
    _, second = store.claim_segment(crashed.job, "crashed", RUN_OUT)

    lease = claim(store, "next")
    segments = store.plan_segments(lease, "plan", SPANS)
    assert [segment.state for segment in segments] == ["DONE", "RUNNING", "QUEUED"]
    assert (segments[0].result, segments[0].details) == (MADE, {"synced": 100})
    assert render_all(store, lease.job, "next") == [1, 2]
    assert refused(lambda: store.finish_segment(second, Asset("e" * 64, 1))) == "LEASE_LOST"
    assert all(segment.result == MADE for segment in store.list_segments(lease.job))
    store.finish_job(lease, MADE, REPORT)


def test_another_plan_begins_anew_and_old_leases_do_not_fit_it(store):
    lease = claim_planned(store)
    _, finished = store.claim_segment(lease.job, "worker", LONG)
    store.finish_segment(finished, MADE)
    _, old = store.claim_segment(lease.job, "worker", LONG)
    segments = store.plan_segments(lease, "another plan", SPANS[:2])

    assert [segment.state for segment in segments] == ["QUEUED", "QUEUED"]
    assert store.get_job(lease.job).progress.done_segments == 0
    assert render_all(store, lease.job) == [0, 1]
    assert refused(lambda: store.finish_segment(old, MADE)) == "LEASE_LOST"


def test_publishing_twice_does_no_harm_but_another_result_is_refused(store):
    lease = claim_planned(store)
    _, segment_lease = store.claim_segment(lease.job, "worker", LONG)
    once = store.finish_segment(segment_lease, MADE)

    assert store.finish_segment(segment_lease, MADE) == once
    assert refused(lambda: store.finish_segment(segment_lease, Asset("e" * 64, 1))) == "LEASE_LOST"


def test_publishing_and_claiming_the_next_is_one_step(store):
    lease = claim_planned(store)
    _, first = store.claim_segment(lease.job, "worker", LONG)
    part, second = store.finish_and_claim(first, MADE, {"synced": 100}, LONG)
    assert (part.index, part.state, second.segment) == (1, "RUNNING", 1)
    assert second.fence > first.fence
    assert store.get_job(lease.job).progress.done_segments == 1
    assert store.finish_and_claim(first, MADE, {}, LONG) == (
        part,
        second,
    )  # the answer was lost: nothing more is claimed
    assert store.heartbeat(second, LONG)

    third = store.claim_segment(lease.job, "another", LONG)[1]
    assert store.finish_and_claim(second, MADE, {}, LONG) is None
    assert refused(lambda: store.finish_and_claim(second, Asset("e" * 64, 1), {}, LONG)) == "LEASE_LOST"
    assert store.finish_and_claim(third, MADE, {}, LONG) is None
    assert [segment.result for segment in store.list_segments(lease.job)] == [MADE] * 3
    store.finish_job(lease, MADE, REPORT)


def test_a_late_holder_publishes_nothing_and_claims_nothing(store):
    lease = claim_planned(store)
    _, late = store.claim_segment(lease.job, "late", RUN_OUT)
    store.claim_segment(lease.job, "next", LONG)
    assert refused(lambda: store.finish_and_claim(late, MADE, {}, LONG)) == "LEASE_LOST"
    assert [segment.state for segment in store.list_segments(lease.job)] == ["RUNNING", "QUEUED", "QUEUED"]


def claim_when_due(store: JobStore) -> Lease:
    while (claimed := store.claim_job("worker", LONG)) is None:
        time.sleep(0.02)
    return claimed[1]


def test_released_work_waits_for_its_time_and_is_tried_again(store, url, monkeypatch):
    monkeypatch.setattr(retrying, "_PASSING", retrying.Backoff(0.2, 0.3, 3))
    create(store)
    assert store.release(claim(store), BROKEN).state is JobState.QUEUED
    assert store.claim_job("worker", LONG) is None
    store.release(claim_when_due(store), BROKEN)
    failed = store.release(claim_when_due(store), BROKEN)

    assert (failed.state, failed.error) == (JobState.FAILED, BROKEN)
    assert [outcome for *_, outcome in read_attempts(url)] == ["RELEASED"] * 3


@pytest.mark.parametrize(
    ("reason", "attempts", "shortest", "longest"),
    [
        ("SERVICE_UNAVAILABLE", 1, 0.7, 1),
        ("SERVICE_UNAVAILABLE", 4, 6, 8),
        ("STALLED", 11, 45, 60),
        ("DISK_FULL", 1, 3.7, 5),
        ("DISK_FULL", 15, 225, 300),
    ],
)
def test_what_can_pass_is_tried_again_later_each_time(reason, attempts, shortest, longest):
    pause = retrying.pause_before_retry(ErrorRecord(reason, "no"), attempts)
    assert shortest <= pause <= longest


@pytest.mark.parametrize(("reason", "attempts"), [("NO_FACE", 1), ("INTERNAL_ERROR", 1), ("STALLED", 12)])
def test_what_cannot_pass_is_not_tried_again(reason, attempts):
    assert retrying.pause_before_retry(ErrorRecord(reason, "no"), attempts) is None


def test_a_segment_that_fails_too_often_fails_its_job(store, monkeypatch):
    monkeypatch.setattr(retrying, "_PASSING", retrying.Backoff(0, 0, 3))
    lease = claim_planned(store)
    for _ in range(3):
        segment, segment_lease = store.claim_segment(lease.job, "worker", LONG)
        assert segment.index == 0
        job = store.release(segment_lease, BROKEN)

    assert (job.state, job.error) == (JobState.FAILED, BROKEN)
    assert not store.heartbeat(lease, LONG)


def test_giving_back_without_an_error_is_no_attempt(store):
    create(store)
    for _ in range(5):
        job = store.release(claim(store))
    assert job.state is JobState.QUEUED


def test_a_job_that_kills_its_workers_fails_in_the_end(store):
    create(store)
    for _ in range(retrying.LOST_ATTEMPTS):
        lease = claim(store, seconds=RUN_OUT)
    assert store.claim_job("worker", LONG) is None
    job = store.get_job(lease.job)
    assert (job.state, job.error.reason) == (JobState.FAILED, "INTERNAL_ERROR")


def test_an_outage_and_then_a_lost_worker_do_not_fail_a_job(store, monkeypatch):
    monkeypatch.setattr(retrying, "_PASSING", retrying.Backoff(0, 0, 12))
    create(store)
    for _ in range(retrying.LOST_ATTEMPTS + 2):
        store.release(claim(store), BROKEN)
    claim(store, seconds=RUN_OUT)
    assert store.claim_job("next", LONG) is not None


def test_a_job_that_gets_on_outlives_any_number_of_workers(store):
    create(store)
    spans = [SegmentSpan(index, index, 1) for index in range(8)]
    for _ in spans:
        lease = claim(store, seconds=RUN_OUT)
        store.plan_segments(lease, "plan", spans)
        _, segment_lease = store.claim_segment(lease.job, "worker", LONG)
        store.finish_segment(segment_lease, MADE)
    assert store.finish_job(claim(store), MADE, REPORT).state is JobState.DONE


def test_an_illegal_step_is_never_written(store):
    from services.orchestrator.transitions import change_job, find_job

    job_id = create(store)
    with pytest.raises(ValueError, match="cannot go from"), store._database.writing() as tx:
        change_job(tx, find_job(tx, job_id), {"state": JobState.DONE})
    assert store.get_job(job_id).state is JobState.QUEUED
    assert len(store.events_after(job_id, 0)) == 1


def test_threads_never_claim_the_same_work(store):
    created = {create(store) for _ in range(30)}

    def claim_all(owner: str) -> list[str]:
        jobs = []
        while (claimed := store.claim_job(owner, LONG)) is not None:
            jobs.append(claimed[0].id)
        return jobs

    with ThreadPoolExecutor(4) as pool:
        claimed = [job for jobs in pool.map(claim_all, ["one", "two", "three", "four"]) for job in jobs]
    assert len(claimed) == 30
    assert set(claimed) == created


WORKER = """
    import sys
    from services.orchestrator.artifacts import Asset
    from services.orchestrator.store import JobStore

    store = JobStore(sys.argv[1])
    while True:
        claimed = store.claim_segment(sys.argv[2], sys.argv[3], 60)
        if claimed is None:
            break
        store.finish_segment(claimed[1], Asset("f" * 64, 1))
        print(claimed[0].index, flush=True)
"""


def start_worker(script: str, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_never_claim_the_same_segment(store, url):
    create(store)
    lease = claim(store)
    store.plan_segments(lease, "plan", [SegmentSpan(index, index, 1) for index in range(60)])
    workers = [start_worker(WORKER, url, lease.job, name) for name in ("one", "two")]
    claimed = [int(line) for worker in workers for line in worker.communicate(timeout=60)[0].split()]

    assert [worker.returncode for worker in workers] == [0, 0]
    assert sorted(claimed) == list(range(60))
    assert all(segment.state is SegmentState.DONE for segment in store.list_segments(lease.job))


def test_processes_may_open_a_new_database_at_once(url):
    script = """
        import sys
        from services.orchestrator.store import JobStore
        sys.stdin.readline()
        from services.orchestrator.records import NewJob
        JobStore(sys.argv[1]).create_job(NewJob("a", "b", {}))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), url]
    openers = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(4)]
    for opener in openers:
        opener.stdin.write(b"go\n")
        opener.stdin.close()
    assert [opener.wait(60) for opener in openers] == [0] * 4
    store = JobStore(url)
    assert len(store.list_jobs().jobs) == 4
    store.close()


def test_a_writer_killed_within_its_transaction_leaves_no_trace(store, url):
    script = """
        import sys, time
        from services.orchestrator.artifacts import Asset
        from services.orchestrator.store import JobStore
        from services.orchestrator import transitions

        store = JobStore(sys.argv[1])
        claimed = store.claim_segment(sys.argv[2], "killed", 60)
        with store._database.writing() as tx:
            transitions.update_leased(tx, claimed[1], {"state": "DONE", "digest": "f" * 64})
            print("written", flush=True)
            time.sleep(60)
    """
    lease = claim_planned(store)
    with start_worker(script, url, lease.job) as writer:
        writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)

    assert store.list_segments(lease.job)[0].state is SegmentState.RUNNING
    assert store.claim_segment(lease.job, "worker", LONG)[0].index == 1  # and the database is not locked


# The rest


def test_a_store_opened_again_knows_everything(store, url):
    lease = claim_planned(store)
    store.close()
    again = JobStore(url)
    assert again.get_job(lease.job).progress.total_segments == 3
    assert again.heartbeat(lease, LONG)
    again.close()


def test_migrations_make_the_tables_of_the_schema(store):
    with store._database.reading() as tx:
        assert compare_metadata(MigrationContext.configure(tx.connection), metadata) == []
        if tx.connection.dialect.name == "sqlite":
            assert tx.connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert tx.connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def test_an_asset_is_remembered_once(store):
    store.put_asset(MADE)
    store.put_asset(MADE)
    with store._database.reading() as tx:
        rows = tx.connection.exec_driver_sql("SELECT digest, size FROM asset").all()
    assert rows == [(MADE.digest, MADE.size)]
