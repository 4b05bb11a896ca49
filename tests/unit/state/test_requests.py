"""An access request behaves the same whether the table exists or not."""

from typing import Any, cast

from duckdb import DuckDBPyConnection

from analyst.access import AccessList, Caller, Role
from analyst.state import Actor
from analyst.state.projection import project
from analyst.state.registry import NewTable, register
from analyst.state.requests import NewAccessRequest, ask
from analyst.state.sources import NewSource, create_source
from analyst.state.users import NewUser, create_user


class Watched:
    """A connection that remembers what it was asked."""

    def __init__(self, db: DuckDBPyConnection) -> None:
        self.seen: list[str] = []
        self._db = db

    def execute(self, sql: str, *values: Any) -> Any:
        self.seen.append(sql)
        return self._db.execute(sql, *values)


def test_a_request_runs_the_same_statements_whether_its_table_exists_or_not(
    db: DuckDBPyConnection, actor: Actor
) -> None:
    user = create_user(db, actor, NewUser(email="ann@example.com"))
    create_source(db, actor, NewSource(name="shop", type="csv"), {})
    register(db, actor, NewTable(id="shop.hidden"), {}, public=False)
    access = AccessList.model_validate_json(project(db, 1, actor.at))
    ann = Caller(user.id, user.email, Role.ANALYST)

    def statements(table: str) -> list[str]:
        watched = Watched(db)
        ask(cast("DuckDBPyConnection", watched), actor, ann, access, NewAccessRequest(table=table, reason="?"))
        return watched.seen

    assert statements("shop.hidden") == statements("shop.absent") == statements("nowhere.nothing")
