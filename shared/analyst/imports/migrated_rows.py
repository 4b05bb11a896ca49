"""The rows of an older system in the current schema, converted by the migrations of the state itself."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from analyst import duckdb_files
from analyst.access import Role
from analyst.imports.old_registry import Place, combine, read_description
from analyst.imports.old_system import (
    FoundTable,
    OldAudit,
    OldKnowledgeItem,
    OldKnowledgeVote,
    OldPermission,
    OldRequest,
    OldRow,
    OldSyncSetting,
    OldSystem,
    OldTable,
    OldTelegramLink,
    OldUser,
    read_rows,
)
from analyst.imports.report import Gathered
from analyst.state.fields import Email
from analyst.state.migrations import migrate
from analyst.state.rows import fetch, insert_all
from analyst.state.schema import REFERENCE_VERSION

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


_MOST_KIB = 1 << 18
_MOST_TIMES = 16


def is_usable(password_hash: str) -> bool:
    """Return whether a hash is argon2id, with at most 256 MB and 16 rounds."""
    from argon2 import Type, extract_parameters
    from argon2.exceptions import InvalidHashError

    try:
        parameters = extract_parameters(password_hash)
    except (InvalidHashError, ValueError):
        return False
    return parameters.type is Type.ID and parameters.memory_cost <= _MOST_KIB and parameters.time_cost <= _MOST_TIMES


Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """A table whose rows are imported unchanged: its key, and whether its rows belong to users."""

    row: type[OldRow]
    key: tuple[str, ...]
    of_a_user: bool = False


KEPT: Mapping[str, Kept] = MappingProxyType(
    {
        "telegram_links": Kept(OldTelegramLink, ("user_id",), of_a_user=True),
        "user_sync_settings": Kept(OldSyncSetting, ("user_id", "dataset"), of_a_user=True),
        "knowledge_items": Kept(OldKnowledgeItem, ("id",)),
        "knowledge_votes": Kept(OldKnowledgeVote, ("item_id", "user_id"), of_a_user=True),
        "audit_log": Kept(OldAudit, ("id",)),
    }
)

_EMAIL: TypeAdapter[str] = TypeAdapter(Email)


@dataclass(frozen=True, slots=True)
class Migrated:
    """An older system in the current schema.

    `names` maps its tables' ids to current ids, `spelled` has its e-mail spellings.
    """

    users: Sequence[Row]
    sources: Sequence[Row]
    tables: Sequence[Row]
    grants: Sequence[Row]
    meaningless: Sequence[Row]
    requests: Sequence[Row]
    kept: Mapping[str, Sequence[Row]]
    names: Mapping[str, str]
    spelled: Mapping[str, str]
    found: Sequence[FoundTable]
    places: Sequence[Place]


def migrated(old: OldSystem, now: datetime, report: Gathered) -> Migrated:
    """Bring an older system to the current schema. The report lists what can't be converted."""
    users = _users(read_rows(old, "users", OldUser, ("id",), report), report)
    registry = read_rows(old, "table_registry", OldTable, ("id",), report)
    permissions = read_rows(old, "dataset_permissions", OldPermission, ("user_id", "dataset"), report)
    requests = read_rows(old, "access_requests", OldRequest, ("id",), report)
    combined = combine(registry, read_description(old.data_description, report), old.found, report)
    with duckdb_files.connect(threads=1) as con:
        migrate(con, now, to=REFERENCE_VERSION)
        _insert(con, "users", users)
        _insert(con, "table_registry", combined.tables)
        _insert(con, "dataset_permissions", permissions)
        _insert(con, "access_requests", requests)
        migrate(con, now)
        return Migrated(
            users=fetch(con, "from users order by id"),
            sources=fetch(con, "from sources order by name"),
            tables=fetch(con, "from table_registry order by registered_at, id"),
            grants=fetch(con, "from grants order by user_id, table_uuid, source, bucket"),
            meaningless=fetch(con, "from migrated_permissions order by user_id, dataset"),
            requests=fetch(con, "from access_requests order by id"),
            kept={
                table: [row.model_dump() for row in read_rows(old, table, kind.row, kind.key, report)]
                for table, kind in KEPT.items()
            },
            names={row["old_id"]: row["id"] for row in fetch(con, "from renamed")},
            spelled={user.id: user.email for user in users},
            found=old.found,
            places=combined.places,
        )


def _users(users: Iterable[OldUser], report: Gathered) -> list[OldUser]:
    """Exclude users without a valid e-mail address, and passwords that can't be verified here."""
    good: dict[str, OldUser] = {}
    for user in users:
        try:
            _EMAIL.validate_python(user.email)
        except ValidationError:
            report.leave("user", user.email, "it is not a valid e-mail address")
            continue
        if user.email in good:
            report.leave("user", user.email, "it is a duplicate")
            continue
        good[user.email] = user.model_copy(update={"password_hash": _password(user, report)})
        if user.role not in {None, *Role}:
            report.alter("user", user.email, f"the role {user.role!r} does not exist here; imported as viewer")
    return list(good.values())


def _password(user: OldUser, report: Gathered) -> str | None:
    if user.password_hash is None or is_usable(user.password_hash):
        return user.password_hash
    report.alter("user", user.email, "the password hash is not supported; the user needs a new password")
    return None


def _insert(con: "DuckDBPyConnection", table: str, models: Sequence[BaseModel]) -> None:
    """Insert rows; missing columns have their defaults."""
    insert_all(con, table, [model.model_dump() for model in models])
