"""How engines and servicers say no without knowing gRPC."""

from collections.abc import Callable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Refusal(Exception):
    """The work cannot be done, for a reason of the catalogue in `syncline.errors`.

    `reason` is the UPPER_SNAKE name of an error class there; `message` is for a person and says what to do; `metadata`
    repeats the message's moving parts for machines (AIP-193). The server's interceptor turns it into a gRPC status.
    """

    def __init__(self, reason: str, message: str, **metadata: object) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = {key: str(value) for key, value in metadata.items()}


def attempt(work: Callable[[Item], Result], item: Item) -> Result | Refusal:
    """The result, or the refusal that `work` raised."""
    try:
        return work(item)
    except Refusal as refusal:
        return refusal
