"""How a command ends: 0 when it did its work, 1 when it failed, 2 for wrong usage, 130 for Ctrl-C."""

import re
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from syncline.errors import SynclineError


class FailingGroup(TyperGroup):
    """Tells failures on standard error, as one line: REASON: message."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (SynclineError, OSError) as error:
            if isinstance(error, BrokenPipeError):  # the reader of our output has gone, which is its right
                raise
            _tell(error)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            print("CANCELLED: stopped on request", file=sys.stderr)
            raise typer.Exit(130) from error


def _tell(error: SynclineError | OSError) -> None:
    if isinstance(error, SynclineError):
        reason, message = error.reason(), error.message
        for line in error.metadata.get("tail", "").splitlines():  # of a service's log
            print(f"  {line}", file=sys.stderr)
    else:
        reason, message = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).upper(), str(error)
    print(f"{reason}: {' '.join(message.split())}", file=sys.stderr)
