"""A statement as a request asks for it."""

from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from analyst.names import Name
from analyst.query.engine import Format, Query
from analyst.query.live_rows import Registered
from analyst.receipts import Parameters
from analyst.snapshots import SnapshotNumber
from analyst.state.fields import Input


class NativeSql(Input):
    """SQL in the language of a source, which runs there. `source` can be omitted if you can use only one."""

    sql: Annotated[str, StringConstraints(min_length=1, max_length=100_000)]
    source: Name | None = None


Alias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]


class QueryRequest(Input):
    """One read-only statement. `parameters` are the values of `$name`, or in order those of `?`.

    `limit` is the number of rows (null: all), `timeout_s` at most the server's own limit. With `full_result`, the whole result
    is written to a parquet file in the bucket, and the answer has its signed URL. `snapshot` is that of an earlier state. Without
    `receipt`, the result is not hashed, which makes large ones faster. `register` names results of native SQL of BigQuery,
    which the statement can use like tables; an administrator decides who may do that.
    """

    sql: Annotated[str, StringConstraints(min_length=1, max_length=200_000)]
    parameters: Parameters = Field(default_factory=dict)
    limit: Annotated[int, Field(ge=0, le=100_000_000)] | None = 1000
    timeout_s: Annotated[float, Field(gt=0, le=3600)] | None = None
    format: Format = "json"
    full_result: bool = False
    receipt: bool = True
    snapshot: SnapshotNumber | None = None
    register_: Annotated[
        dict[Alias, NativeSql | Annotated[str, StringConstraints(min_length=1, max_length=100_000)]],
        Field(alias="register", max_length=8),
    ] = Field(default_factory=dict)

    @field_validator("register_")
    @classmethod
    def _distinct(cls, names: dict[str, NativeSql | str]) -> dict[str, NativeSql | str]:
        if len({name.lower() for name in names}) < len(names):
            raise ValueError("two names differ only in case")
        return names

    @property
    def registered(self) -> tuple[Registered, ...]:
        """The results of native SQL."""
        return tuple(
            Registered(name, sql) if isinstance(sql, str) else Registered(name, sql.sql, sql.source)
            for name, sql in self.register_.items()
        )

    def statement(self, longest: float) -> Query:
        """Return the statement with its limits; `longest` is that of the server, in seconds."""
        return Query(
            self.sql,
            self.parameters,
            "parquet" if self.full_result else self.format,
            None if self.full_result else self.limit,
            min(self.timeout_s or longest, longest),
            receipt=self.receipt,
            reuse=not self.full_result,
            registered=self.registered,
        )
