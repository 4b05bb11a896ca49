"""A process that administrates: `python administrator.py NAME TIMES`, in the bucket of the environment, once told to.

It changes people of its own and what all share, each change in an edit of its own, and prints what it should have come
to, as one JSON line. What others leave no room for it tries again.
"""

import json
import random
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from analyst.access import EVERY_SCOPE, Role
from analyst.errors import UnavailableError
from analyst.state import Actor, State
from analyst.state.grants import NewPermission, create_permission, delete_permission
from analyst.state.groups import NewGroup, add_member, create_group, get_group, remove_member
from analyst.state.registry import NewTable, TableChange, get_table, register, update_table
from analyst.state.sources import NewSource, create_source
from analyst.state.tokens import issue
from analyst.state.users import NewUser, UserChange, create_user, delete_user, get_user, update_user
from tests.named_bucket import opened

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SHARED_TABLE, SHARED_GROUP = "shop.orders", "everybody"

Change = Callable[["DuckDBPyConnection"], Any]


@dataclass
class Person:
    """What has become of a user: the role, the number of valid tokens, and what was granted directly."""

    role: str
    active: bool = True
    member: bool = False
    tokens: int = 0
    grant: str | None = None


@dataclass
class Done:
    """What the acknowledged changes of one process came to."""

    people: dict[str, Person] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)
    counted: int = 0
    edits: int = 0
    tried_again: int = 0


def set_up(state: State) -> None:
    """Make what all share, and an administrator who stays."""

    def change(db: "DuckDBPyConnection") -> None:
        actor = Actor(None, datetime.now(UTC))
        create_user(db, actor, NewUser(email="root@example.com", role=Role.ADMIN))
        create_source(db, actor, NewSource(name="shop", type="csv"), {})
        register(db, actor, NewTable(id=SHARED_TABLE, description="0"), {}, public=False)
        create_group(db, actor, NewGroup(name=SHARED_GROUP))

    state.edit(change)


class Administrator:
    """One who changes things, in an order that its name decides."""

    def __init__(self, state: State, name: str) -> None:
        self.done = Done()
        self._state = state
        self._name = name
        self._random = random.Random(name)
        self._actor = Actor(None, datetime.now(UTC))

    def work(self, times: int) -> Done:
        """Make so many changes."""
        kinds = [self.add_user, self.add_group, self.count, self.change_user, self.join_or_leave]
        kinds += [self.grant_or_revoke, self.give_token, self.remove_user, self.count]
        for number in range(times):
            kind = self.add_user if number == 0 else self._random.choice(kinds)
            kind(number)
        return self.done

    def add_user(self, number: int) -> None:
        email = f"{self._name}-{number}@example.com"
        role = self._random.choice(list(Role))
        self._edit(lambda db: create_user(db, self._actor, NewUser(email=email, role=role)))
        self.done.people[email] = Person(role)

    def add_group(self, number: int) -> None:
        name = f"{self._name}-{number}"
        self._edit(lambda db: create_group(db, self._actor, NewGroup(name=name)))
        self.done.groups.append(name)

    def count(self, _number: int) -> None:
        """Add one to what everybody adds to."""

        def change(db: "DuckDBPyConnection") -> None:
            counted = int(get_table(db, SHARED_TABLE).description or 0)
            update_table(db, self._actor, TableChange(id=SHARED_TABLE, description=str(counted + 1)), {})

        self._edit(change)
        self.done.counted += 1

    def change_user(self, number: int) -> None:
        email, person = self._somebody(number)
        role, active = self._random.choice(list(Role)), self._random.random() < 0.7

        def change(db: "DuckDBPyConnection") -> None:
            update_user(db, self._actor, UserChange(id=get_user(db, email).id, role=role, active=active))

        self._edit(change)
        person.role, person.active, person.tokens = role, active, person.tokens if active else 0

    def join_or_leave(self, number: int) -> None:
        email, person = self._somebody(number)
        move = remove_member if person.member else add_member
        self._edit(lambda db: move(db, self._actor, get_group(db, SHARED_GROUP).id, get_user(db, email).id))
        person.member = not person.member

    def grant_or_revoke(self, number: int) -> None:
        email, person = self._somebody(number)
        grant = person.grant
        if grant is None:
            new = NewPermission(user=email, table=SHARED_TABLE)
            person.grant = self._edit(lambda db: create_permission(db, self._actor, new).id)
        else:
            self._edit(lambda db: delete_permission(db, self._actor, grant))
            person.grant = None

    def give_token(self, number: int) -> None:
        email, person = self._somebody(number)
        if not person.active:
            return self.count(number)
        self._edit(lambda db: issue(db, self._actor, get_user(db, email).id, "x", days=90, scopes=EVERY_SCOPE))
        person.tokens += 1
        return None

    def remove_user(self, number: int) -> None:
        email, _ = self._somebody(number)
        self._edit(lambda db: delete_user(db, self._actor, get_user(db, email).id))
        del self.done.people[email]

    def _somebody(self, number: int) -> tuple[str, Person]:
        if not self.done.people:
            self.add_user(number)
        email = self._random.choice(sorted(self.done.people))
        return email, self.done.people[email]

    def _edit(self, change: Change) -> Any:
        while True:
            try:
                result = self._state.edit(change)
            except UnavailableError:  # others came between all the time: nothing has happened
                self.done.tried_again += 1
            else:
                self.done.edits += 1
                return result


def main(name: str, times: str) -> None:
    administrator = Administrator(State(opened(), lambda: datetime.now(UTC)), name)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(asdict(administrator.work(int(times)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
