import grpc
import pytest
from google.rpc import status_pb2

from syncline import Client, errors

from .fakes import FakeOrchestrator


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
