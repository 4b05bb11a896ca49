"""The config of a source of materialized tables, and the options of one of its tables."""

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from analyst.names import Name, TableId

TYPE: Final = "materialized"


class MaterializedSource(BaseModel):
    """The config of a source of materialized tables: it has none, since each table has its own SQL."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MaterializedOptions(BaseModel):
    """The options of a materialized table.

    `sql`: one query over tables of any source. `engine`: what runs the query: the server's DuckDB, the Spark Connect
    server of the settings (with SQL that DuckDB can parse, too), or BigQuery (with GoogleSQL). `connection`: the
    BigQuery source in whose project the engine bigquery runs. `max_bytes_billed`: overrides the limit of billed bytes
    of that source. The server derives three fields from the query, and overwrites them: the tables that it names
    (`inputs`), the columns of each input that it may read, if not all (`columns`), and whether its result can differ
    over the same data (`is_volatile`). `allow_fewer`: the table may lose many or all of its rows at once, which it
    always may if its result differs over the same data.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sql: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200_000)]
    engine: Literal["duckdb", "spark", "bigquery"] = "duckdb"
    connection: Name | None = None
    max_bytes_billed: Annotated[int, Field(ge=0)] | None = None
    inputs: Annotated[tuple[TableId, ...], Field(max_length=1000)] = ()
    columns: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    is_volatile: bool = False
    allow_fewer: bool = False

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if (self.engine == "bigquery") != (self.connection is not None):
            raise ValueError(
                "the engine bigquery needs connection, the name of the BigQuery source in whose project it runs; other engines "
                "have none"
            )
        if self.max_bytes_billed is not None and self.engine != "bigquery":
            raise ValueError("max_bytes_billed is for the engine bigquery")
        return self
