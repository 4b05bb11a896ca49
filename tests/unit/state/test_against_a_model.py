"""After any sequence of edits, the published access list equals that of a naive model."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from analyst.access import EVERY_SCOPE, AccessList, Caller, Role
from analyst.access.parts import PartList, PartReader
from analyst.errors import AnalystError, ConflictError, NotFoundError, UnauthenticatedError
from analyst.state import Actor
from analyst.state.files import Writer
from analyst.state.grants import NewPermission, PermissionQuery, create_permission, delete_permission, list_permissions
from analyst.state.groups import NewGroup, add_member, create_group, delete_group, get_group, remove_member
from analyst.state.projection import project, project_parts, rows_behind
from analyst.state.registry import NewTable, TableChange, deregister, register, update_table
from analyst.state.sources import NewSource, create_source, delete_source
from analyst.state.tokens import issue
from analyst.state.users import NewUser, UserChange, create_user, delete_user, get_user, update_user
from analyst.store import ABSENT
from tests.doubles.memory_store import MemoryStore
from tests.examples import examples

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ACTOR = Actor(None, NOW)

emails = st.sampled_from(["root@x", "ann@x", "bob@x"])
roles = st.sampled_from(Role)
teams = st.sampled_from(["sales", "ops"])
sources = st.sampled_from(["shop", "crm"])
tables = st.builds("{}.{}".format, sources, st.sampled_from("ab"))
buckets = st.sampled_from([None, "in", "out"])
principals = st.one_of(st.tuples(st.just("user"), emails), st.tuples(st.just("group"), teams))
targets = st.one_of(
    st.tuples(st.just("table"), tables), st.tuples(st.just("source"), sources), st.tuples(st.just("bucket"), sources)
)


@dataclass
class Person:
    """A user of the model."""

    role: Role
    active: bool = True
    tokens: list[str] = field(default_factory=list)


@dataclass
class Model:
    """What should be, by names alone: removing a thing removes what hangs on it."""

    people: dict[str, Person] = field(default_factory=dict)
    teams: dict[str, set[str]] = field(default_factory=dict)
    sources: set[str] = field(default_factory=set)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    grants: set[tuple[tuple[str, str], tuple[str, str], str | None]] = field(default_factory=set)

    def may_read(self, email: str, table: str) -> bool:
        if self.people[email].role is Role.ADMIN:
            return True
        if table not in self.tables:
            return False
        return self.tables[table]["is_public"] or any(
            self.is_for(who, email) and self.covers(what, bucket, table) for who, what, bucket in self.grants
        )

    def is_for(self, who: tuple[str, str], email: str) -> bool:
        kind, name = who
        return name == email if kind == "user" else email in self.teams[name]

    def covers(self, what: tuple[str, str], bucket: str | None, table: str) -> bool:
        kind, name = what
        if kind == "table":
            return name == table
        in_source = table.startswith(f"{name}.")
        return in_source and (kind == "source" or self.tables[table]["bucket"] == bucket)

    def forget(self, kind: str, name: str) -> None:
        self.grants = {grant for grant in self.grants if (kind, name) not in grant}


class Administration(RuleBasedStateMachine):
    """Random administration, done to the file and to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.file = Writer().renewed(None, Path(self.folder.name) / "state.duckdb", NOW)
        self.db = self.file.__enter__()
        self.model = Model()
        self.bucket = MemoryStore()
        self.parts: PartList | None = None
        self.part_reader = PartReader(self.bucket)
        self.as_if = 1
        self.version = 0

    def teardown(self) -> None:
        self.file.__exit__(None, None, None)
        self.folder.cleanup()

    def attempt(self, change: Any, expected: type[AnalystError] | None) -> Any:
        """Make a change as an edit does; it must fail as expected, or not at all."""
        self.db.execute("begin")
        if expected is None:
            result = change(self.db, ACTOR)
            self.db.execute("commit")
            return result
        with pytest.raises(expected):
            change(self.db, ACTOR)
        self.db.execute("rollback")
        return None

    def id_of(self, email: str) -> str:
        return get_user(self.db, email).id if email in self.model.people else "nobody"

    def team_id(self, team: str) -> str:
        return get_group(self.db, team).id if team in self.model.teams else "nothing"

    def other_admins(self, email: str) -> bool:
        return any(p.active and p.role is Role.ADMIN for e, p in self.model.people.items() if e != email)

    def is_last_admin(self, email: str) -> bool:
        person = self.model.people[email]
        return person.active and person.role is Role.ADMIN and not self.other_admins(email)

    @initialize()
    def begin(self) -> None:
        """Begin with what most rules need: of nothing, few random steps lead to a grant that somebody uses."""
        self.add_user("root@x", Role.ADMIN)
        self.add_user("ann@x", Role.ANALYST)
        self.add_team("sales")
        self.change_members("sales", "ann@x", join=True)
        self.add_source("shop")
        self.add_table("shop.a", "in", public=False)
        self.add_table("shop.b", None, public=True)

    @rule(email=emails, role=roles)
    def add_user(self, email: str, role: Role) -> None:
        expected = ConflictError if email in self.model.people else None
        if self.attempt(lambda db, by: create_user(db, by, NewUser(email=email, role=role)), expected):
            self.model.people[email] = Person(role)

    @rule(email=emails, role=roles | st.none(), active=st.none() | st.booleans())
    def change_user(self, email: str, role: Role | None, active: bool | None) -> None:
        given: dict[str, Any] = {"role": role, "active": active}
        change = UserChange(id=self.id_of(email), **{name: value for name, value in given.items() if value is not None})
        person = self.model.people.get(email)
        expected: type[AnalystError] | None = None
        if person is None:
            expected = NotFoundError
        elif self.is_last_admin(email) and (role not in (None, Role.ADMIN) or active is False):
            expected = ConflictError
        if self.attempt(lambda db, by: update_user(db, by, change), expected) and person is not None:
            person.role = person.role if role is None else role
            person.tokens = [] if active is False else person.tokens
            person.active = person.active if active is None else active

    @rule(email=emails)
    def remove_user(self, email: str) -> None:
        id_ = self.id_of(email)
        known = email in self.model.people
        expected = (ConflictError if self.is_last_admin(email) else None) if known else NotFoundError
        self.attempt(lambda db, by: delete_user(db, by, id_), expected)
        if expected is None:
            del self.model.people[email]
            self.model.forget("user", email)
            for members in self.model.teams.values():
                members.discard(email)

    @rule(email=emails)
    def make_token(self, email: str) -> None:
        id_, person = self.id_of(email), self.model.people.get(email)
        expected = NotFoundError if person is None else (None if person.active else ConflictError)
        made = self.attempt(lambda db, by: issue(db, by, id_, "laptop", days=1, scopes=EVERY_SCOPE), expected)
        if made and person:
            person.tokens.append(made.token)

    @rule(team=teams)
    def add_team(self, team: str) -> None:
        expected = ConflictError if team in self.model.teams else None
        if self.attempt(lambda db, by: create_group(db, by, NewGroup(name=team)), expected):
            self.model.teams[team] = set()

    @rule(team=teams)
    def remove_team(self, team: str) -> None:
        id_ = self.team_id(team)
        self.attempt(lambda db, by: delete_group(db, by, id_), None if team in self.model.teams else NotFoundError)
        if self.model.teams.pop(team, None) is not None:
            self.model.forget("group", team)

    @rule(team=teams, email=emails, join=st.booleans())
    def change_members(self, team: str, email: str, join: bool) -> None:
        group, user = self.team_id(team), self.id_of(email)
        known = team in self.model.teams and email in self.model.people
        change = add_member if join else remove_member
        self.attempt(lambda db, by: change(db, by, group, user), None if known else NotFoundError)
        if known:
            members = self.model.teams[team]
            (members.add if join else members.discard)(email)

    @rule(source=sources)
    def add_source(self, source: str) -> None:
        expected = ConflictError if source in self.model.sources else None
        if self.attempt(lambda db, by: create_source(db, by, NewSource(name=source, type="csv"), {}), expected):
            self.model.sources.add(source)

    @rule(source=sources)
    def remove_source(self, source: str) -> None:
        used = any(table.startswith(f"{source}.") for table in self.model.tables)
        known = source in self.model.sources
        expected = (ConflictError if used else None) if known else NotFoundError
        self.attempt(lambda db, by: delete_source(db, by, source), expected)
        if expected is None:
            self.model.sources.discard(source)
            self.model.forget("source", source)
            self.model.forget("bucket", source)

    @rule(table=tables, bucket=buckets, public=st.booleans())
    def add_table(self, table: str, bucket: str | None, public: bool) -> None:
        new = NewTable(id=table, bucket=bucket, is_public=public)
        expected: type[AnalystError] | None = ConflictError if table in self.model.tables else None
        if table.partition(".")[0] not in self.model.sources:
            expected = NotFoundError
        if self.attempt(lambda db, by: register(db, by, new, {}, public=False), expected):
            self.model.tables[table] = {"bucket": bucket, "is_public": public}

    @rule(table=tables, bucket=buckets, public=st.none() | st.booleans())
    def change_table(self, table: str, bucket: str | None, public: bool | None) -> None:
        fields: dict[str, Any] = {"bucket": bucket, **({} if public is None else {"is_public": public})}
        expected = None if table in self.model.tables else NotFoundError
        if self.attempt(lambda db, by: update_table(db, by, TableChange(id=table, **fields), {}), expected):
            self.model.tables[table] |= fields

    @rule(table=tables)
    def remove_table(self, table: str) -> None:
        self.attempt(lambda db, by: deregister(db, by, table), None if table in self.model.tables else NotFoundError)
        self.model.tables.pop(table, None)
        self.model.forget("table", table)

    @rule(times=st.sampled_from([1, 20_000, 200_000]))
    def grow(self, times: int) -> None:
        """Make parts as if there were so many times as many rows."""
        self.as_if = times

    def knows(self, kind: str, name: str) -> bool:
        model = self.model
        known = {"user": set(model.people), "group": set(model.teams), "table": set(model.tables)}
        return name in known.get(kind, model.sources)

    @rule(who=principals, what=targets, bucket=st.sampled_from(["in", "out"]))
    def grant(self, who: tuple[str, str], what: tuple[str, str], bucket: str) -> None:
        kind, name = what
        place = bucket if kind == "bucket" else None
        target = {"source": name, "bucket": bucket} if kind == "bucket" else {kind: name}
        new = NewPermission(**{who[0]: who[1]}, **target)
        in_bucket = any(t.startswith(f"{name}.") and v["bucket"] == bucket for t, v in self.model.tables.items())
        expected: type[AnalystError] | None = ConflictError if (who, what, place) in self.model.grants else None
        if not self.knows(*who) or not self.knows(*what) or (kind == "bucket" and not in_bucket):
            expected = NotFoundError
        if self.attempt(lambda db, by: create_permission(db, by, new), expected):
            self.model.grants.add((who, what, place))

    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        listed = list_permissions(self.db, PermissionQuery())
        assert len(listed) == len(self.model.grants)
        if not listed:
            return
        chosen = data.draw(st.sampled_from(listed))
        self.attempt(lambda db, by: delete_permission(db, by, chosen.id), None)
        kind = "table" if chosen.table else ("bucket" if chosen.bucket else "source")
        self.model.grants.remove(
            ((chosen.principal.type, chosen.principal.name), (kind, chosen.table or chosen.source or ""), chosen.bucket)
        )

    @invariant()
    def the_published_list_is_right(self) -> None:
        self.version += 1
        access = AccessList.model_validate_json(project(self.db, self.version, NOW))
        self.check_against_the_model(access)
        self.check_parts(access)
        self.check_tokens(access)

    def check_against_the_model(self, access: AccessList) -> None:
        assert set(access.tables) == set(self.model.tables)
        assert {user.email for user in access.users.values()} == {e for e, p in self.model.people.items() if p.active}
        for id_, user in access.users.items():
            who = Caller(id_, user.email, user.role, frozenset(user.groups))
            seen = {table for table in ("shop.a", "shop.b", "crm.a", "crm.b") if access.may_read(who, table)}
            assert seen == {
                table for table in ("shop.a", "shop.b", "crm.a", "crm.b") if self.model.may_read(user.email, table)
            }
            assert access.readable(who) == seen & set(self.model.tables)

    def check_parts(self, access: AccessList) -> None:
        """The parts say what the whole list says."""
        rows = {kind: rows * self.as_if for kind, rows in rows_behind(self.db, NOW).items()}
        before = self.parts
        self.parts, written = project_parts(
            self.db, self.version, NOW, rows, before=before, prefix=f"{self.version:026}"
        )
        for key, text in written.items():
            self.bucket.put(key, text, if_version=ABSENT)
        read = self.part_reader.read(self.parts)
        assert read == access
        assert list(read.tables) == list(access.tables)

    def check_tokens(self, access: AccessList) -> None:
        """Exactly the tokens of active users are valid."""
        valid = [token for person in self.model.people.values() if person.active for token in person.tokens]
        assert len(access.tokens) == len(valid)
        for email, person in self.model.people.items():
            for token in person.tokens:
                try:
                    assert access.caller_of(token, NOW).email == email
                except UnauthenticatedError:
                    assert not person.active

    @invariant()
    def somebody_can_administer(self) -> None:
        assert any(p.active and p.role is Role.ADMIN for p in self.model.people.values()) or not self.model.people


Administration.TestCase.settings = settings(max_examples=examples(6), stateful_step_count=25, deadline=None)
TestAdministration = Administration.TestCase
