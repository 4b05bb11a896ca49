"""The config of a source of materialized tables, and the options of one of its tables."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from analyst.names import TableId

TYPE: Final = "materialized"


class MaterializedSource(BaseModel):
    """The config of a source of materialized tables: it has none, since each table has its own SQL."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MaterializedOptions(BaseModel):
    """The options of a materialized table.

    `sql` is one query over tables of any source. The server derives from it, and overwrites, `inputs`: the tables that it
    names; `columns`: those of each input that it may read, if that is not all; and `is_volatile`: whether its result can
    differ over the same data.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sql: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200_000)]
    engine: Literal["duckdb"] = "duckdb"
    inputs: Annotated[tuple[TableId, ...], Field(max_length=1000)] = ()
    columns: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    is_volatile: bool = False
