"""Jobs, their segments and events: the state that the queue is made of, in one SQL schema.

A job waits QUEUED, is claimed (RUNNING) and ends DONE, FAILED or CANCELLED. A claim gives a lease: it runs out by the
database's clock unless a heartbeat extends it, and carries a fencing token, by which everything its holder writes is
refused once another has claimed the work. Work may be done twice; its result is written once.

Every change of a job appends an event in the same transaction. All methods block: call them in an executor.
"""

from services.orchestrator.database import Database
from services.orchestrator.queue import WorkQueue
from services.orchestrator.records import Limits
from services.orchestrator.registry import JobRegistry
from services.orchestrator.upkeep import Upkeep


class JobStore(JobRegistry, WorkQueue, Upkeep):
    """`url`: sqlite:////path/of/the/file, or postgresql+psycopg://user:password@host/database."""

    def __init__(self, url: str, limits: Limits | None = None) -> None:
        self._database = Database(url)
        self._limits = limits or Limits()

    def take_alone(self) -> None:
        """Of an SQLite file, makes sure that no other orchestrator uses it. Raises ConfigError."""
        self._database.take_alone()

    def close(self) -> None:
        self._database.close()
