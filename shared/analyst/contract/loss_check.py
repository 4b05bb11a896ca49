"""The check that a table does not lose more rows than is believable, before anything of it is published."""

from analyst.contract.connector import SourceTable
from analyst.contract.model import TableState
from analyst.errors import SourceError
from da.absence import believable, believable_rows


def check_losses(table: SourceTable, state: TableState, before: int, now: int, *, counted: int | None) -> None:
    """Check the number of rows that a table will have, `now`, against those that are published, `before`.

    `counted` is the number that the source reports apart from what it delivers. That it is as small proves nothing: a table
    that was truncated by mistake is empty there, too. That it is as large as before proves that rows are only hidden. What
    replaces an import is checked elsewhere.

    Raises:
        SourceError: too many rows would be lost.
    """
    if table.allow_fewer or state.is_imported or (now and not table.has_basis_of(state.fingerprint)):
        return
    most = believable_rows(before)
    is_hidden = counted is not None and counted >= before
    if before - now <= (min(believable(before), most) if is_hidden else most):
        return
    gone = f"{before - now:,} of the {before:,} published rows would be gone, and {now:,} would be left"
    why = "a lost permission, a truncated table and an incomplete export look the same"
    if counted is not None and is_hidden:
        why = f"a lost permission hides rows: the source counts {counted:,}"
    raise SourceError(
        f"{gone}, so the published rows stay; {why}; restore them at the source, or, if they are meant to go, set the "
        "table's option allow_fewer to true"
    )
