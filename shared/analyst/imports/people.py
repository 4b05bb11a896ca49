"""Taking the users of an older system."""

from collections.abc import Mapping
from uuid import uuid4

from analyst.imports.memory import Memory
from analyst.imports.migrated import Migrated, Row
from analyst.state.audit import record_all
from analyst.state.rows import fetch, insert_all

_LONGEST_NAME = 200


def take_users(memory: Memory, old: Migrated) -> Mapping[str, Row]:
    """Add the users whose e-mail is not here; tell who here is whom, by the ids there. Who is here stays as they are."""
    rows = fetch(memory.db, "from users")
    by_email, ids = {row["email"]: row for row in rows}, {row["id"] for row in rows}
    found: dict[str, Row] = {}
    added: list[Row] = []
    for user in old.users:
        email = user["email"]
        if not user["active"]:
            kept, _, _ = email.rpartition("#")
            memory.report.leave("user", old.spelled[user["id"]], f"it is {kept} in another spelling, who is taken")
        elif memory.admits("user", email, is_there=email in by_email):
            id_ = user["id"] if user["id"] and user["id"] not in ids else str(uuid4())
            ids.add(id_)
            added.append({**user, "id": id_, "name": _name(user["name"])})
            found[user["id"]] = added[-1]
        elif email in by_email:
            found[user["id"]] = _here(memory, user, by_email[email])
    insert_all(memory.db, "users", added)
    record_all(memory.db, memory.actor, "user.create", {f"user:{row['id']}": _audited(row) for row in added})
    return found


def _here(memory: Memory, there: Row, here: Row) -> Row:
    if there["role"] != here["role"]:
        reason = f"they are {here['role']} here and were {there['role']}: that stays as it is"
        memory.report.alter("user", here["email"], reason)
    return here


def _name(text: str | None) -> str | None:
    """Make one line of a name."""
    return " ".join((text or "").split())[:_LONGEST_NAME].strip() or None


def _audited(row: Row) -> Row:
    return {"email": row["email"], "role": row["role"], "imported": True}
