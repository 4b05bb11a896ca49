"""Which tables the caller mirrors to laptops."""

from pydantic import BaseModel, ConfigDict

from analyst.access import Role, Scope
from analyst.context import Context
from analyst.http import function
from analyst.table_choices import KEY, TableChoice, choice_of, choose, mirrored
from analyst.visible_tables import visible


class TableChoiceView(BaseModel):
    """Which tables the caller mirrors. With the mode `all`, `tables` that are false are exceptions.

    Of the tables that the caller can read and that can be mirrored, `mirrored` are, and `left_out` are not. `unused`
    patterns match no table that the caller can read.
    """

    model_config = ConfigDict(frozen=True)

    choice: TableChoice
    mirrored: int
    left_out: int
    unused: tuple[str, ...]


@function("GET", "/api/sync/table-subscriptions", allow=Role.ANALYST)
def get_table_choice(ctx: Context) -> TableChoiceView:
    """Return which tables the caller mirrors to laptops."""
    return _view(ctx, choice_of(ctx.process.recent, ctx.user_id))


@function("POST", "/api/sync/table-subscriptions", allow=Role.ANALYST, scope=Scope.SYNC, audit="sync.choose")
def choose_tables(choice: TableChoice, ctx: Context) -> TableChoiceView:
    """Replace the choice of tables that the caller mirrors to laptops. It does not change what the caller can read."""
    choose(ctx.store, ctx.user_id, choice)
    ctx.process.recent.expire(KEY)
    ctx.audited(mode=choice.table_mode, patterns=len(choice.tables))
    return _view(ctx, choice)


def _view(ctx: Context, choice: TableChoice) -> TableChoiceView:
    access = ctx.access.current()
    tables = list(visible(ctx.snapshots.current(), access, ctx.caller))
    able = [table.id for table in tables if mirrored(table, access)]
    wanted = sum(map(choice.wants, able))
    return TableChoiceView(
        choice=choice,
        mirrored=wanted,
        left_out=len(able) - wanted,
        unused=choice.unused(table.id for table in tables),
    )
