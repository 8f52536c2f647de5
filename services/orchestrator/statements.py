"""SQL made once from each statement: SQLAlchemy takes longer to build one than a database to run it."""

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect


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
    """Of one database."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._known: dict[Any, Prepared] = {}

    def query(self, statement: Any) -> Prepared:
        """`statement` is a constant, its values bindparams."""
        return self._keep(statement, lambda: Prepared(statement, self._dialect))

    def insert(self, table: sa.Table, columns: tuple[str, ...], unless: str | None) -> Prepared:
        """With `unless`, a unique column: gives the new row, or nothing when its value is there already."""

        def build() -> Prepared:
            dialect = postgresql if self._dialect.name == "postgresql" else sqlite
            statement: Any = dialect.insert(table)
            if unless is not None:
                statement = statement.on_conflict_do_nothing(index_elements=[table.c[unless]])
            return Prepared(
                statement.returning(sa.literal_column("*")) if unless else statement, self._dialect, columns
            )

        return self._keep(("insert", table.name, columns, unless), build)

    def update(self, table: sa.Table, keys: tuple[str, ...], columns: tuple[str, ...]) -> Prepared:
        """The values of `keys` are named as the columns, with "at_" before."""

        def build() -> Prepared:
            where = [table.c[key] == sa.bindparam(f"at_{key}") for key in keys]
            return Prepared(sa.update(table).where(*where), self._dialect, columns)

        return self._keep(("update", table.name, keys, columns), build)

    def _keep(self, key: Any, build: Callable[[], Prepared]) -> Prepared:
        prepared = self._known.get(key)
        if prepared is None:
            prepared = self._known[key] = build()
        return prepared
