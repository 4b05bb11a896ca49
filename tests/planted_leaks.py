"""Lines of the code without which somebody is given what the access rules withhold from them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patch:
    """A line of a file that occurs once, and what is put in its place."""

    path: str
    old: str
    new: str


_EVERY = "snapshot.catalog.tables"
PATCHES = (
    Patch(
        "shared/analyst/access/rules.py",
        "for id_, table in access.tables.items() if table.is_public)",
        "for id_ in access.tables)",
    ),
    Patch("shared/analyst/access/rules.py", "    for group in caller.groups:", "    for group in ():"),
    Patch("shared/analyst/manifest.py", "tables = visible(snapshot, access, caller)", f"tables = list({_EVERY})"),
    Patch("shared/analyst/catalog_view.py", "for table in visible(snapshot, access, caller)", f"for table in {_EVERY}"),
    Patch(
        "shared/analyst/catalog_view.py",
        "table = require(snapshot, access, caller, table_id)",
        "table = snapshot.by_id[table_id]",
    ),
    Patch("shared/analyst/catalog_search.py", "find(snapshot, access, caller, id_)", "snapshot.by_id.get(id_)"),
    Patch(
        "functions/api/table_data.py",
        "table = require(snapshot, access, ctx.caller, id)",
        "table = snapshot.by_id[id]",
    ),
    Patch(
        "functions/api/lineage.py", "require(snapshot, access, ctx.caller, query.table)", "snapshot.by_id[query.table]"
    ),
    Patch(
        "functions/api/descriptions.py",
        "    table = require(snapshot, access, ctx.caller, table_id)",
        "    table = snapshot.by_id[table_id]",
    ),
    Patch(
        "functions/api/expectations.py",
        "table = require(ctx.snapshots.current(), ctx.access.current(), ctx.caller, table_id)",
        "table = ctx.snapshots.current().by_id[table_id]",
    ),
    Patch("functions/api/query.py", "    allow=Role.ANALYST,", "    allow=Role.VIEWER,"),
    Patch(
        "shared/analyst/query/engine.py",
        'return visible_tables.find(self.snapshot, self.access, self.caller, f"{schema}.{table}")',
        'return self.snapshot.by_id.get(f"{schema}.{table}")',
    ),
    Patch(
        "shared/analyst/query/engine.py",
        "return visible_tables.find(self.snapshot, self.access, self.caller, each.id)",
        "return each",
    ),
    Patch(
        "shared/analyst/signed_urls.py",
        "return table if self.access.may_download(self.caller, table_id) else None",
        "return table",
    ),
    Patch(
        "shared/analyst/signed_urls.py",
        "table = visible_tables.find(snapshot, self.access, self.caller, table_id)\n        return table if self.access.may_download(self.caller, table_id) else None",
        "return snapshot.by_id.get(table_id)",
    ),
    Patch(
        "shared/analyst/sharing/shares.py",
        'return table.query_mode != "remote" and self.access.may_download(self.caller, table.id)',
        'return table.query_mode != "remote"',
    ),
    Patch(
        "shared/analyst/sharing/shares.py",
        "for table in visible_tables.visible(self.snapshot, self.access, self.caller)\n            if self.is_shared(table)",
        "for table in self.snapshot.catalog.tables",
    ),
    Patch(
        "shared/analyst/store/signing.py",
        '    if not hmac.compare_digest(wanted.encode(), parameters.get("signature", "").encode(errors="replace")):',
        "    if not wanted:",
    ),
    Patch(
        "shared/analyst/agents/server_warehouse.py",
        'return visible_tables.require(self._current, self.access, self.caller, wanted.replace(\'"\', ""))',
        'return self._current.by_id[wanted.replace(\'"\', "")]',
    ),
    Patch(
        "shared/analyst/agents/server_warehouse.py",
        "tables = [self._hit(table) for table in visible_tables.visible(self._current, self.access, self.caller)]",
        "tables = [self._hit(table) for table in self._current.catalog.tables]",
    ),
    Patch(
        "shared/analyst/agents/server_warehouse.py",
        "tables = visible_tables.visible(found, self.access, self.caller)",
        "tables = found.catalog.tables",
    ),
    Patch(
        "shared/analyst/metrics/checked_metrics.py",
        "readable = visible_by_id(snapshot, access, caller)",
        "readable = snapshot.by_id",
    ),
    Patch(
        "shared/analyst/pages/catalog.py",
        "readable = visible(self.snapshot, self.access, self.caller)",
        "readable = list(self.snapshot.catalog.tables)",
    ),
    Patch(
        "functions/pages/table.py",
        "table = require(snapshot, access, ctx.caller, query.id)",
        "table = snapshot.by_id[query.id]",
    ),
    Patch(
        "functions/pages/query_page.py",
        "names_for(visible(ctx.snapshots.current(), ctx.access.current(), ctx.caller))",
        "names_for(ctx.snapshots.current().catalog.tables)",
    ),
)
