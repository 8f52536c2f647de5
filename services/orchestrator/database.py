"""Opening the database: connections, transactions, its clock, its schema."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Dialect, Engine

from services.runtime.config import ConfigError
from services.runtime.refusal import Refusal

BUSY_SECONDS = 30  # how long a writer waits for its turn
Row = Mapping[Any, Any]  # by the names of columns


class Prepared:
    """The SQL of one statement, and the values that it has of its own."""

    def __init__(self, statement: Any, dialect: Dialect, columns: tuple[str, ...] | None = None) -> None:
        names = None if columns is None else list(columns)
        compiled = statement.compile(dialect=dialect, column_keys=names)
        self.text = str(compiled)
        self._own = compiled.construct_params(_check=False)
        self._order = compiled.positiontup
        self.columns: list[str] | None = None  # of its rows; known once it has run, and empty when there are none

    def parameters(self, values: Mapping[str, Any]) -> Any:
        """As the driver wants them."""
        if unknown := values.keys() - self._own.keys():
            raise ValueError(f"the statement has no {', '.join(unknown)}")
        given = self._own | values
        return given if self._order is None else tuple(given[name] for name in self._order)


class Statements:
    """SQL made once from each statement: SQLAlchemy takes longer to build one than a database to run it."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._known: dict[Any, Prepared] = {}

    def query(self, statement: Any) -> Prepared:
        """`statement` is a constant, its values bindparams."""
        return self._keep(statement, lambda: Prepared(statement, self._dialect))

    def insert(self, table: sa.Table, columns: tuple[str, ...], unless: str | None) -> Prepared:
        """With `unless`, a unique column: nothing happens when its value is there already."""

        def build() -> Prepared:
            dialect = postgresql if self._dialect.name == "postgresql" else sqlite
            statement: Any = dialect.insert(table)
            if unless is not None:
                statement = statement.on_conflict_do_nothing(index_elements=[table.c[unless]])
            return Prepared(statement.returning(sa.literal_column("*")), self._dialect, columns)

        return self._keep(("insert", table.name, columns, unless), build)

    def update(self, table: sa.Table, keys: tuple[str, ...], columns: tuple[str, ...]) -> Prepared:
        """The values of `keys` are named as the columns, with "at_" before."""

        def build() -> Prepared:
            where = [table.c[key] == sa.bindparam(f"at_{key}") for key in keys]
            return Prepared(sa.update(table).where(*where).returning(sa.literal_column("*")), self._dialect, columns)

        return self._keep(("update", table.name, keys, columns), build)

    def _keep(self, key: Any, build: Callable[[], Prepared]) -> Prepared:
        prepared = self._known.get(key)
        if prepared is None:
            prepared = self._known[key] = build()
        return prepared


@dataclass(frozen=True)
class Transaction:
    """`now`: when it began, by the database's clock, in milliseconds since the Unix epoch."""

    connection: Connection
    statements: Statements
    now: int

    def after(self, seconds: float) -> int:
        """That long from now."""
        return self.now + round(seconds * 1000)

    def all(self, query: Any, **values: Any) -> list[Row]:
        return self._run(self.statements.query(query), values)

    def first(self, query: Any, **values: Any) -> Row | None:
        """The first row, or None."""
        return next(iter(self.all(query, **values)), None)

    def value(self, query: Any, **values: Any) -> Any:
        """The first column of the first row, or None."""
        row = self.first(query, **values)
        return None if row is None else next(iter(row.values()))

    def run(self, statement: Any, **values: Any) -> None:
        self._run(self.statements.query(statement), values)

    def insert(self, table: sa.Table, values: Mapping[str, Any], unless: str | None = None) -> Row | None:
        """The new row; None when there is one with the same value in the column `unless`."""
        prepared = self.statements.insert(table, tuple(values), unless)
        return next(iter(self._run(prepared, values)), None)

    def insert_all(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        self.connection.execute(sa.insert(table), rows)

    def update(self, table: sa.Table, at: Mapping[str, Any], values: Mapping[str, Any]) -> Row:
        """The changed row; there must be one."""
        prepared = self.statements.update(table, tuple(at), tuple(values))
        keys = {f"at_{name}": value for name, value in at.items()}
        (row,) = self._run(prepared, keys | dict(values))
        return row

    def _run(self, prepared: Prepared, values: Mapping[str, Any]) -> list[Row]:
        # The driver's own cursor: what SQLAlchemy learns of each result costs more than the result.
        cursor = self.connection.connection.cursor()
        cursor.execute(prepared.text, prepared.parameters(values))
        if prepared.columns is None:
            prepared.columns = [column[0] for column in cursor.description or ()]
        return [dict(zip(prepared.columns, row, strict=True)) for row in cursor.fetchall()] if prepared.columns else []


class Database:
    """Connections to one database, its schema brought up to date first. Any thread may use it."""

    def __init__(self, url: str) -> None:
        self._engine = _create_engine(url)
        self._writer = self._engine.execution_options(writing=True)
        sqlite_file = self._engine.dialect.name == "sqlite"  # its readers see one state as it is
        self._reader = (
            self._engine if sqlite_file else self._engine.execution_options(isolation_level="REPEATABLE READ")
        )
        self._statements = Statements(self._engine.dialect)
        self._lock: int | None = None  # a descriptor
        with self.writing() as transaction:
            _migrate(transaction.connection)

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A transaction that sees one state of the database and changes nothing.

        Raises Refusal SERVICE_UNAVAILABLE while the database is out of reach, DISK_FULL.
        """
        with self._transaction(self._reader) as transaction:
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
                yield Transaction(connection, self._statements, now)
                connection.commit()
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
        return connection, _ask_time(connection)
    except failures:  # it lay in the pool while the database was restarted
        connection.invalidate()
        connection.close()
    connection = engine.connect()
    connection.begin()
    try:
        return connection, _ask_time(connection)
    except failures:
        connection.close()
        raise


def _ask_time(connection: Connection) -> int:
    cursor: Any = connection.connection.cursor()
    cursor.execute("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)")
    return int(cursor.fetchone()[0])


def _create_engine(url: str) -> Engine:
    if sa.make_url(url).get_backend_name() != "sqlite":
        return sa.create_engine(url)
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
