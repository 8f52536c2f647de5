"""Opening the database: connections, transactions, its clock, its schema."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection, Engine

from services.orchestrator.statements import Prepared, Statements
from services.runtime.config import ConfigError
from services.runtime.refusal import Refusal

BUSY_SECONDS = 30  # how long a writer waits for its turn
_Statement = tuple[str, Any, bool]  # SQL, its parameters, whether it must change one row
Row = Mapping[Any, Any]  # by the names of columns
_CLOCK = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"


@dataclass(frozen=True)
class Transaction:
    """`now`: when it began, by the database's clock, in milliseconds since the Unix epoch.

    What is written is sent with the next read or with the commit, all at once: a round trip to the database costs more
    than most statements.
    """

    connection: Connection
    statements: Statements
    now: int
    _unsent: list[_Statement] = field(default_factory=list)

    def after(self, seconds: float) -> int:
        """That long from now."""
        return self.now + round(seconds * 1000)

    def all(self, query: Any, **values: Any) -> list[Row]:
        return self._ask(self.statements.query(query), values)

    def first(self, query: Any, **values: Any) -> Row | None:
        """The first row, or None."""
        return next(iter(self.all(query, **values)), None)

    def value(self, query: Any, **values: Any) -> Any:
        """The first column of the first row, or None."""
        row = self.first(query, **values)
        return None if row is None else next(iter(row.values()))

    def run(self, statement: Any, **values: Any) -> None:
        self._write(self.statements.query(statement), values)

    def insert(self, table: sa.Table, values: Mapping[str, Any]) -> None:
        self._write(self.statements.insert(table, tuple(values), None), values)

    def insert_new(self, table: sa.Table, values: Mapping[str, Any], unless: str) -> Row | None:
        """The new row; None when there is one with the same value in the column `unless`."""
        return next(iter(self._ask(self.statements.insert(table, tuple(values), unless), values)), None)

    def insert_all(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        self.send()
        self.connection.execute(sa.insert(table), rows)

    def update(self, table: sa.Table, at: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Changes one row; there must be one."""
        prepared = self.statements.update(table, tuple(at), tuple(values))
        keys = {f"at_{name}": value for name, value in at.items()}
        self._write(prepared, keys | dict(values), one=True)

    def _write(self, prepared: Prepared, values: Mapping[str, Any], one: bool = False) -> None:
        self._unsent.append((prepared.text, prepared.parameters(values), one))

    def _ask(self, prepared: Prepared, values: Mapping[str, Any]) -> list[Row]:
        cursor = self._send((prepared.text, prepared.parameters(values), False))
        if prepared.columns is None:
            prepared.columns = [column[0] for column in cursor.description or ()]
        return [dict(zip(prepared.columns, row, strict=True)) for row in cursor.fetchall()]

    def commit(self) -> None:
        if self.connection.dialect.name == "postgresql" and self._unsent:
            self._send(("COMMIT", None, False))
        else:
            self.send()
        self.connection.commit()

    def send(self) -> None:
        """What was written, now."""
        if self._unsent:
            self._send(self._unsent.pop())

    def _send(self, last: _Statement) -> Any:
        """The cursor of the last statement, after all that was not sent yet."""
        statements = [*self._unsent, last]
        self._unsent.clear()
        connection: Any = self.connection.connection
        together = len(statements) > 1 and self.connection.dialect.name == "postgresql"
        # The driver's own cursors: what SQLAlchemy learns of each result costs more than the result.
        cursors = [connection.cursor() for _ in statements]
        with connection.driver_connection.pipeline() if together else nullcontext():
            for cursor, (text, parameters, _) in zip(cursors, statements, strict=True):
                cursor.execute(text, parameters or ())
        for cursor, (text, _, one) in zip(cursors, statements, strict=True):
            if one and cursor.rowcount != 1:
                raise ValueError(f"{cursor.rowcount} rows where one was to be changed: {text}")
        return cursors[-1]


class Database:
    """Connections to one database, its schema brought up to date first. Any thread may use it."""

    def __init__(self, url: str) -> None:
        self._engine = _create_engine(url)
        self._writer = self._engine.execution_options(writing=True)
        self._statements = Statements(self._engine.dialect)
        self._lock: int | None = None  # a descriptor
        with self.writing() as transaction:
            _migrate(transaction.connection)

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A transaction that sees one state of the database and changes nothing.

        Raises Refusal SERVICE_UNAVAILABLE while the database is out of reach, DISK_FULL.
        """
        with self._transaction(self._engine) as transaction:
            yield transaction

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """A transaction that commits when the block ends well. On SQLite, writers take turns. Raises as reading."""
        with self._transaction(self._writer) as transaction:
            yield transaction

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Transaction]:
        driver: Any = engine.dialect.loaded_dbapi
        failures = (sa.exc.OperationalError, sa.exc.InterfaceError, driver.OperationalError, driver.InterfaceError)
        try:
            connection, now = _begin(engine, failures)
            with connection:
                transaction = Transaction(connection, self._statements, now)
                yield transaction
                transaction.commit()
        except failures as error:
            if "disk is full" in str(error):
                raise Refusal(
                    "DISK_FULL", "The job database's disk is full: free some space, then try again."
                ) from error
            said = str(getattr(error, "orig", error)).splitlines()[0]
            raise Refusal("SERVICE_UNAVAILABLE", f"the job database cannot be reached: {said}") from error

    def take_alone(self) -> None:
        """Keeps other orchestrators off an SQLite file for as long as this process lives. Raises ConfigError.

        SQLite's own locks let several processes of one host write, but not fairly, and not over a network.
        """
        if self._engine.dialect.name != "sqlite":
            return
        lock = os.open(f"{self._engine.url.database}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise ConfigError(
                f"another orchestrator uses {self._engine.url.database}, and an SQLite file is for one: "
                "set ORCHESTRATOR_DATABASE=postgresql+psycopg://user:password@host/database for all of them"
            ) from error
        self._lock = lock

    def close(self) -> None:
        self._engine.dispose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _begin(engine: Engine, failures: tuple[type[Exception], ...]) -> tuple[Connection, int]:
    """A connection in a transaction, and the database's own time in milliseconds since the Unix epoch."""
    connection = engine.connect()
    connection.begin()
    if engine.dialect.name == "sqlite":
        return connection, time.time_ns() // 1_000_000  # its clock is this host's
    try:
        return connection, _begin_on_postgresql(connection)
    except failures:  # it lay in the pool while the database was restarted
        connection.invalidate()
        connection.close()
    connection = engine.connect()
    connection.begin()
    try:
        return connection, _begin_on_postgresql(connection)
    except failures:
        connection.close()
        raise


def _begin_on_postgresql(connection: Connection) -> int:
    """The transaction and the time in one round trip. Readers see one state; SQLite's do so by themselves."""
    writing = connection.get_execution_options().get("writing", False)
    cursor: Any = connection.connection.cursor()
    cursor.execute(f"BEGIN ISOLATION LEVEL {'READ COMMITTED' if writing else 'REPEATABLE READ'}; {_CLOCK}")
    cursor.nextset()
    return int(cursor.fetchone()[0])


def _create_engine(url: str) -> Engine:
    if sa.make_url(url).get_backend_name() != "sqlite":
        return sa.create_engine(url, isolation_level="AUTOCOMMIT")  # transactions begin where we say
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})
    sa.event.listen(engine, "connect", _set_up_sqlite)
    sa.event.listen(engine, "begin", _begin_on_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
    _retry_while_locked(lambda: connection.execute("PRAGMA journal_mode = WAL"))
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _retry_while_locked(call: Callable[[], object]) -> None:
    # Several processes turning a new file to WAL at once: SQLite answers "locked" at once, without its busy timeout.
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            call()
            return
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.05)


def _begin_on_sqlite(connection: Connection) -> None:
    # IMMEDIATE: a transaction that begins by reading and then writes would fail if another wrote in between.
    writing = connection.get_execution_options().get("writing", False)
    cursor: Any = connection.connection.cursor()
    cursor.execute("BEGIN IMMEDIATE" if writing else "BEGIN")


def _migrate(connection: Connection) -> None:
    """Brings the schema to the newest version; processes that start together take turns."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('syncline schema'))"))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
