"""The simulator's bookkeeping: all work is done, limits hold, and idle pods go."""

from benchmarks.scaling import Costs, Job, Policy, Result, simulate

COSTS = Costs(seconds_per_frame=0.1, cold=30, price=1)


def play(*jobs: Job, most: int = 8) -> Result:
    return simulate(iter(jobs), Policy.of_manifest(most), COSTS)


def test_the_first_job_waits_for_a_cold_pod() -> None:
    (job,) = play(Job(100, 200)).jobs
    assert 100 + 30 + 20 <= job.done <= 100 + 30 + 20 + 3


def test_more_work_brings_more_pods_up_to_the_most() -> None:
    result = play(*(Job(100, 6000) for _ in range(10)), most=8)
    assert max(result.pods) == 8
    assert len(result.jobs) == 10
    assert abs(result.busy - 10 * 6000 * 0.1) < 1
    alone = 10 * 6000 * 0.1
    assert alone / 8 <= result.jobs[-1].done - 100 <= alone / 4


def test_pods_go_when_there_is_nothing_left_but_one_waits_a_while() -> None:
    result = play(*(Job(0, 6000) for _ in range(10)), Job(4 * 3600, 10))
    quiet = result.pods[3 * 3600 : 4 * 3600 - 1]
    assert set(quiet) == {0}
    done = int(result.jobs[-2].done)
    assert result.pods[done + 300] > 1  # ten quiet minutes first


def test_a_fixed_number_stays() -> None:
    result = simulate(iter([Job(0, 100)]), Policy.of_manifest(8), COSTS, fixed=3)
    assert set(result.pods) == {3}
    assert result.jobs[0].done <= 5
