import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from syncline import Client, errors
from tests.sdk.fakes import FakeOrchestrator


@pytest.mark.parametrize("reason", sorted(errors.CATALOGUE))
def test_round_trip_as_status(reason: str) -> None:
    error = errors.CATALOGUE[reason]("what to do", {"key": "value"})
    back = errors.from_status(errors.to_status(error))
    assert type(back) is type(error)
    assert (back.message, back.metadata, back.reason()) == ("what to do", {"key": "value"}, reason)


@pytest.mark.parametrize("reason", sorted(set(errors.CATALOGUE) - {"SYNCLINE_ERROR"}))
def test_round_trip_over_the_wire(client: Client, fake: FakeOrchestrator, reason: str) -> None:
    fake.fail("GetJob", errors.CATALOGUE[reason]("what to do", {"key": "value"}), times=99)
    with pytest.raises(errors.SynclineError) as caught:
        client.get("jobs/1")
    assert (caught.value.reason(), caught.value.message) == (reason, "what to do")
    assert caught.value.metadata == {"key": "value"}
    assert len(fake.calls) == (10 if caught.value.retryable else 1)


def test_status_of_another_domain_falls_back_to_its_code() -> None:
    error = errors.from_status(status_pb2.Status(code=grpc.StatusCode.NOT_FOUND.value[0], message="nothing"))
    assert type(error) is errors.NotFound
    assert type(errors.from_status(status_pb2.Status(code=2))) is errors.SynclineError


def test_a_bad_request_names_its_field_and_a_full_server_says_when_to_come_back() -> None:
    bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    status = errors.to_status(errors.InvalidOption("crf is 99; the range is 0 to 51", {"field": "crf"}))
    assert [detail.Unpack(bad) for detail in status.details] == [False, True]
    assert (bad.field_violations[0].field, bad.field_violations[0].reason) == ("crf", "INVALID_OPTION")
    status = errors.to_status(errors.DiskFull("free some space"))
    assert [detail.Unpack(retry) for detail in status.details] == [False, True]
    assert retry.retry_delay.seconds > 0
