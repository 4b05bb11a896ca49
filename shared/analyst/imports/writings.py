"""Taking what people wrote and set in an older system: knowledge, votes, links, settings, its audit log."""

import json
from collections import Counter
from collections.abc import Mapping

from analyst.imports.memory import Memory
from analyst.imports.migrated import KEPT, Kept, Migrated, Row
from analyst.names import quote
from analyst.state.rows import fetch, insert_all


def take_kept(memory: Memory, old: Migrated, users: Mapping[str, Row]) -> None:
    """Add the rows that are not here."""
    for table, kind in KEPT.items():
        columns = ", ".join(map(quote, kind.key))
        here = {_key(kind, row) for row in fetch(memory.db, f"select {columns} from {table}")}
        left, added = Counter[str](), list[Row]()
        for row in old.kept[table]:
            user = users.get(row.get("user_id") or "")
            if kind.of_a_user and user is None:
                left["the user is not taken"] += 1
            elif table == "audit_log" and row["timestamp"] is None:
                left["it has no time"] += 1
            else:
                mine = row if user is None else {**row, "user_id": user["id"]}
                key = _key(kind, mine)
                if memory.admits(table, key, is_there=key in here):
                    added.append(mine)
                    here.add(key)
        insert_all(memory.db, table, added)
        for reason, count in left.items():
            memory.report.leave(table, f"{count} rows" if count > 1 else "1 row", reason)


def _key(kind: Kept, row: Row) -> str:
    return json.dumps([row[name] for name in kind.key])
