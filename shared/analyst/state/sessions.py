"""Sessions that are ended before they expire."""

from datetime import datetime
from typing import TYPE_CHECKING

from analyst.state.audit import Actor, record
from analyst.state.rows import execute, fetch_one, insert

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def end_session(db: "DuckDBPyConnection", actor: Actor, session_id: str, user_id: str, expires: datetime) -> None:
    """End one session of a user; what it could last to at most is `expires`. Ending it again is no error."""
    execute(db, "delete from revoked_sessions where expires_at <= ?", [actor.at])
    if not fetch_one(db, "from revoked_sessions where id = ?", [session_id]):
        values = {"id": session_id, "user_id": user_id, "expires_at": expires, "revoked_at": actor.at}
        insert(db, "revoked_sessions", values)
        record(db, actor, "auth.sign_out", f"user:{user_id}")


def end_all_sessions(db: "DuckDBPyConnection", actor: Actor, user_id: str) -> None:
    """End every session of a user that began before; access tokens stay as they are."""
    void_sessions(db, actor, user_id)
    record(db, actor, "auth.sign_out_everywhere", f"user:{user_id}")


def void_sessions(db: "DuckDBPyConnection", actor: Actor, user_id: str) -> None:
    """Make every session void that a user began before; whoever calls this tells the audit log why."""
    later = "update users set sessions_valid_from = greatest(sessions_valid_from, ?) where id = ?"
    execute(db, later, [actor.at, user_id])
