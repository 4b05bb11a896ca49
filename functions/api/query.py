"""SQL over the tables that a caller can read."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from analyst import query_answer
from analyst.access import Role, Scope
from analyst.connectors.bigquery.live_tables import LiveTables
from analyst.context import Context
from analyst.errors import ForbiddenError
from analyst.http import CLIENT_GONE, Spooled, function
from analyst.names import Name
from analyst.query.engine import Format, Query, Reader
from analyst.query.live_rows import Registered
from analyst.query_answer import QueryAnswer
from analyst.receipts import Receipt, Value
from analyst.snapshots import SnapshotNumber


class NativeSql(BaseModel):
    """SQL in the language of a source, which runs there. `source` can be omitted if you can use only one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sql: Annotated[str, StringConstraints(min_length=1, max_length=100_000)]
    source: Name | None = None


Alias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]


class QueryRequest(BaseModel):
    """One read-only statement. `parameters` are the values of `$name`, or in order those of `?`.

    `limit` is the number of rows (null: all), `timeout_s` at most the server's own limit. With `full_result`, the whole result
    is written to a parquet file in the bucket, and the answer has its signed URL. `snapshot` is that of an earlier state. Without
    `receipt`, the result is not hashed, which makes large ones faster. `register` names results of native SQL of BigQuery,
    which the statement can use like tables; an administrator decides who may do that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sql: Annotated[str, StringConstraints(min_length=1, max_length=200_000)]
    parameters: dict[str, Value] | tuple[Value, ...] = Field(default_factory=dict)
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


@function(
    "POST",
    "/api/query",
    allow=Role.ANALYST,
    scope=Scope.QUERY,
    reads=True,
    answers={
        403: "The caller may not run native SQL on the source, or is a script and asks for `full_result`.",
        404: "The snapshot does not exist, or is no longer kept.",
        422: "The statement is refused, can't be parsed, or fails.",
    },
    audit="query",
)
def query(request: QueryRequest, ctx: Context) -> QueryAnswer | Spooled[QueryAnswer]:
    """Run one read-only statement of SQL over the tables that the caller can read.

    A statement names tables as `orders` or `shop.orders`. Only queries are possible: SELECT, FROM, WITH, VALUES, PIVOT,
    DESCRIBE, SUMMARIZE. Rows of remote tables are read from BigQuery when they are asked for: columns and simple conditions
    are applied there, and the receipt marks such tables as live. Formats other than JSON have the facts about the result in the header `X-Query`, as JSON, and
    the receipt in `X-Receipt`.
    """
    settings = ctx.settings
    if request.full_result and ctx.caller.reads_only:  # it would be written to the bucket, and its URL outlive the run
        raise ForbiddenError(
            "a script can't have 'full_result', which writes to the bucket; ask for the rows with 'limit'"
        )
    asked = Query(
        request.sql,
        request.parameters,
        "parquet" if request.full_result else request.format,
        None if request.full_result else request.limit,
        min(request.timeout_s or settings.query_timeout, settings.query_timeout),
        receipt=request.receipt,
        reuse=not request.full_result,
        registered=request.registered,
    )
    live = LiveTables(ctx)
    reader = Reader(ctx.snapshots.at(request.snapshot), ctx.access.current(), ctx.caller, live)
    if asked.registered:
        ctx.audited(
            register=[{"name": each.alias, "source": each.source, "sql": each.sql} for each in asked.registered]
        )
    try:
        result = ctx.queries.run(
            asked,
            reader,
            is_gone=ctx.request.environ.get(CLIENT_GONE, lambda: False),
            using=lambda tables: ctx.audited(
                *(f"table:{table.id}" for table in tables), snapshot=reader.snapshot.number
            ),
        )
    finally:
        if live.used:
            ctx.audited(register=live.used)
    ctx.audited(
        rows=result.rows,
        bytes=result.size,
        bytes_read=result.bytes_read,
        elapsed_ms=result.elapsed_ms,
        cached=result.cached,
    )
    receipt = Receipt.issue(result, asked, ctx.caller, ctx.now, ctx.keys)
    if request.full_result:
        kept = query_answer.keep(result, receipt, ctx.store, expires=settings.url_expires)
        return kept.model_copy(update={"url": ctx.absolute(kept.url or "")})
    if asked.format == "json":
        query_answer.complete(result, receipt)
        return Spooled(result.file)
    suffix, media_type = query_answer.SUFFIXES[asked.format], query_answer.MEDIA_TYPES[asked.format]
    return Spooled(result.file, media_type, f"result.{suffix}", query_answer.headers(result, receipt))
