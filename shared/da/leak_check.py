"""The check for leaks: as every person, every surface of the server is asked for what is theirs, and for what is not.

What a person may read is computed here from grants, groups and the registry, so a fault in the rules of the server is
found too. Three questions are asked:

- Lists are asked as a whole. They may not mention a table that is not the person's, and complete ones must mention theirs.
- Surfaces that take a table must answer for a foreign table as for one that does not exist, and mention no other foreign
  table; for one of the person's own, they must answer as they do for an administrator.
- Addresses of files: a path without a signature, or with that of another file, must be refused.

Of the many pairs of a person and a table, a surface that takes a table is asked for some: each table as somebody who may
not read it, and each person for several foreign and own ones. Lists cover all pairs.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle, islice
from time import sleep
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode, urlsplit

from da.errors import DaError
from da.leak_surfaces import (
    FILES,
    LISTINGS,
    METRICS,
    NAMESPACE,
    SURFACES,
    TABLES_OF_NAMESPACE,
    TABLES_OF_SCHEMA,
    TOOLS,
    Call,
    Listing,
    Surface,
    Table,
    tool,
)
from da.server import Server
from da.web import Web

Kind = Literal["leak", "missing", "refused", "unknown"]

NAME: Final = "leak-check"
"""The name of the tokens, of which none outlives the check."""

_SCOPES: Final = ("read", "query", "sync")
_AT_ONCE: Final = 8
_EACH: Final = 2
"""Foreign and own tables that each person asks a surface for, at least."""

_OWN_TEXTS: Final = ("/api/access-requests/mine", "/api/feedback", "/query.json")
"""What a person wrote: requests, feedback, and the history of queries."""

_ABSENT: Final = "no_such_table_7c1"
_READS: Final = ("analyst", "km_admin", "admin")
_BUSY: Final = (429, 503)
_PAUSES: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
"""Seconds between the attempts of a request that the server can't take now: queries have few places."""


@dataclass(frozen=True, slots=True)
class Person:
    """A user with a token, and the tables that they may read."""

    email: str
    role: str
    token: str
    own: frozenset[str]
    mentioned: frozenset[str] = frozenset()
    """Tables that they requested, queried or wrote about, whose names they may see in what they wrote."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a surface. `outcome` says how it answered, without the words of the message."""

    status: int
    text: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference between what a person got and what is theirs."""

    kind: Kind
    surface: str
    person: str
    table: str | None
    detail: str

    def to_json(self) -> dict[str, str | None]:
        """Return it as `--json` has it."""
        return {name: getattr(self, name) for name in ("kind", "surface", "person", "table", "detail")}


@dataclass
class Report:
    """What was asked, and what differed."""

    people: int
    tables: int
    requests: int = 0
    pairs: int = 0
    findings: list[Finding] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as `--json` has it."""
        return {
            "people": self.people,
            "tables": self.tables,
            "surfaces": len(SURFACES) + len(LISTINGS) + len(METRICS) + 2,
            "requests": self.requests,
            "pairs": self.pairs,
            "findings": [each.to_json() for each in self.findings],
        }


_PAIRS: Final = tuple(re.compile(rf"(?=(?<![\w.])(\w+){between}(\w+)(?!\w))") for between in (r"\.", "/", "/data/"))


def mentioned(text: str, known: frozenset[str]) -> set[str]:
    """Return the tables that a text mentions: as `source.name`, quoted or not, in a path, or as schema and name in JSON."""
    plain = re.sub(r"[\\\"`']|%22|</?[a-z]+>", "", text)
    found = {f"{source}.{name}" for pair in _PAIRS for source, name in pair.findall(plain)}
    found |= {f"{schema}.{name}" for name, schema in re.findall(r'"name": ?"(\w+)", ?"schema": ?"(\w+)"', text)}
    return found & known


@dataclass
class LeakCheck:
    """A check of one server. `each` is how many foreign and own tables every person asks a surface for, at least."""

    server: Server
    web: Web
    each: int = _EACH
    seen: Callable[[str], object] = lambda _: None

    def run(self, emails: Sequence[str] = ()) -> Report:
        """Ask everything as every active person, or as those with the given addresses.

        Raises:
            DaError: the server refuses an administrator's request, or does not respond.
        """
        tables = self._tables()
        people: list[Person] = []
        tokens: list[str] = []
        try:
            for user in self._users(emails):
                token = self.server.post("/auth/tokens", _token_for(user["email"]))
                tokens.append(token["id"])
                people.append(self._person(user, token["token"], tables))
            report = Report(len(people), len(tables))
            _Asking(self, report, people, tables).run()
        finally:
            for token_id in tokens:
                self.server.delete(f"/auth/tokens/{token_id}")
        report.findings.sort(key=lambda each: (each.surface, each.person, each.table or "", each.kind))
        return report

    def _users(self, emails: Sequence[str]) -> list[dict[str, Any]]:
        users = [user for user in self.server.get("/api/users")["users"] if user["active"]]
        if unknown := sorted(set(emails) - {user["email"] for user in users}):
            raise DaError(f"'{unknown[0]}' is not an active user; to see all users, run: da admin users list")
        return [user for user in users if not emails or user["email"] in emails]

    def _tables(self) -> list[Table]:
        registered = {each["id"]: each for each in self.server.get("/api/admin/tables")["tables"]}
        published = self.server.get("/api/catalog/tables", limit=10_000)["tables"]
        manifest = self.server.manifest(None)
        files = manifest[1]["tables"] if manifest else {}
        return [
            Table(
                each["id"],
                each["view"],
                registered[each["id"]]["bucket"],
                bool(registered[each["id"]]["is_public"]),
                bool(registered[each["id"]]["server_only"]),
                tuple(file["path"] for file in files.get(each["id"], {}).get("files", ())),
            )
            for each in published
            if each["id"] in registered
        ]

    def _person(self, user: Mapping[str, Any], token: str, tables: Sequence[Table]) -> Person:
        groups = {group["id"] for group in self._groups() if user["id"] in {m["id"] for m in group["members"]}}
        grants = [g for g in self._grants() if g["principal"]["id"] in {user["id"], *groups}]
        own = frozenset(
            t.id for t in tables if user["role"] == "admin" or t.is_public or any(_covers(g, t) for g in grants)
        )
        headers = {"Authorization": f"Bearer {token}"}
        own_texts = "".join(self._text(path, headers) for path in _OWN_TEXTS)
        return Person(
            user["email"], user["role"], token, own, frozenset(mentioned(own_texts, frozenset(t.id for t in tables)))
        )

    def _text(self, path: str, headers: Mapping[str, str]) -> str:
        with self.web.exchange("GET", f"{self.server.address}{path}", headers) as answer:
            return answer.read().decode(errors="replace")

    def _groups(self) -> list[dict[str, Any]]:
        if not hasattr(self, "_known_groups"):
            self._known_groups: list[dict[str, Any]] = self.server.get("/api/admin/groups")["groups"]
        return self._known_groups

    def _grants(self) -> list[dict[str, Any]]:
        if not hasattr(self, "_known_grants"):
            self._known_grants: list[dict[str, Any]] = self.server.get("/api/admin/permissions")["permissions"]
        return self._known_grants


def _token_for(email: str) -> dict[str, Any]:
    return {"name": NAME, "user": email, "scopes": list(_SCOPES), "expires_in_days": 1}


def _covers(grant: Mapping[str, Any], table: Table) -> bool:
    if grant["table"] is not None:
        return bool(grant["table"] == table.id)
    return bool(grant["source"] == table.source and grant["bucket"] in (None, table.bucket))


@dataclass
class _Asking:
    """The requests of a check."""

    check: LeakCheck
    report: Report
    people: Sequence[Person]
    tables: Sequence[Table]
    by_admin: dict[tuple[str, str], str] = field(default_factory=dict)
    by_nothing: dict[tuple[str, str], str] = field(default_factory=dict)

    def run(self) -> None:
        known = {table.id: table for table in self.tables}
        jobs: list[Callable[[], Iterable[Finding]]] = []
        snapshots = [each["snapshot"] for each in self.check.server.get("/api/snapshots")["snapshots"]]
        for person in self.people:
            jobs += [lambda p=person, at=listing: self._listed(p, at) for listing in self._listings(person, snapshots)]  # type: ignore[misc]
            jobs.append(lambda p=person: self._files(p))  # type: ignore[misc]
            jobs.append(lambda p=person: self._metrics(p))  # type: ignore[misc]
            jobs.append(lambda p=person: self._tools(p))  # type: ignore[misc]
            jobs.append(lambda p=person: self._shares(p))  # type: ignore[misc]
        for surface in SURFACES:
            askers = [p for p in self.people if not surface.analysts or p.role in _READS]
            pairs = [
                *_pairs(askers, lambda p: sorted(known.keys() - p.own), self.check.each, every_table=True),
                *_pairs(askers, lambda p: sorted(p.own), self.check.each, every_table=False),
            ]
            self.report.pairs += len(pairs)
            for person, table_id in pairs:
                jobs.append(lambda s=surface, p=person, t=known[table_id]: self._asked(s, p, t))  # type: ignore[misc]
            for person in (p for p in self.people if p not in askers):
                jobs.append(lambda s=surface, p=person: self._viewer(s, p))  # type: ignore[misc]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for done, found in enumerate(pool.map(lambda job: [*job()], jobs), start=1):
                self.check.seen(f"{done} of {len(jobs)}")
                self.report.findings += found

    # lists

    def _listings(self, person: Person, snapshots: Sequence[int]) -> Iterator[Listing]:
        for listing in LISTINGS:
            if not listing.analysts or person.role in _READS:
                yield listing
        oldest = snapshots[-1:] if len(snapshots) > 1 else []
        for number in oldest:
            yield Listing("GET /api/catalog/tables", f"/api/catalog/tables?limit=10000&snapshot={number}")
            if person.role in _READS:
                yield Listing("GET /api/sync/manifest", f"/api/sync/manifest?snapshot={number}", analysts=True)
        if person.role in _READS:
            for source in sorted({table.source for table in self.tables}):
                path = f"/delta-sharing/shares/data/schemas/{quote(source)}/tables?maxResults=10000"
                yield Listing(TABLES_OF_SCHEMA, path, analysts=True)
                namespace = f"/iceberg/v1/namespaces/{quote(source)}"
                yield Listing(NAMESPACE, namespace, analysts=True)
                yield Listing(TABLES_OF_NAMESPACE, f"{namespace}/tables", analysts=True)

    def _listed(self, person: Person, listing: Listing) -> Iterator[Finding]:
        answer = self._ask(person, Call("GET", listing.path))
        yield from self._foreign(person, listing.label, answer, frozenset())
        if not listing.complete:
            return
        if answer.status != 200:  # noqa: PLR2004
            yield Finding("refused", listing.label, person.email, None, f"answered with {answer.status}")
            return
        wanted = {
            t.id for t in self.tables if t.id in person.own and not (listing.complete == "downloads" and t.server_only)
        }
        for table_id in sorted(wanted - mentioned(answer.text, frozenset(wanted))):
            yield Finding(
                "missing", listing.label, person.email, table_id, "not listed, although the person may read it"
            )

    def _foreign(self, person: Person, label: str, answer: Answer, but: frozenset[str]) -> Iterator[Finding]:
        foreign = frozenset(t.id for t in self.tables) - person.own - person.mentioned - but
        for table_id in sorted(mentioned(answer.text, foreign)):
            yield Finding("leak", label, person.email, table_id, "mentioned, although the person may not read it")

    # surfaces that take a table

    def _asked(self, surface: Surface, person: Person, table: Table) -> Iterator[Finding]:
        answer = self._ask(person, surface.call(table))
        may = table.id in person.own and not (surface.downloads and table.server_only)
        but = frozenset({table.id} if surface.echoes and not may else ())
        yield from self._foreign(person, surface.label, answer, but)
        if not surface.echoes:
            return
        if may:
            expected = self._of_admin(surface, table)
            if answer.outcome != expected:
                detail = f"answered {answer.outcome}, but {expected} for an administrator"
                yield Finding("missing", surface.label, person.email, table.id, detail)
            return
        control = self._of_nothing(surface, person, table.source)
        if answer.outcome != control:
            detail = f"answered {answer.outcome}, but {control} for a table that does not exist"
            yield Finding("leak", surface.label, person.email, table.id, detail)

    def _of_nothing(self, surface: Surface, person: Person, source: str) -> str:
        """Return how a surface answers a person about a table that does not exist."""
        key = surface.label, person.email
        if key not in self.by_nothing:
            absent = Table(f"{source}.{_ABSENT}", _ABSENT, None, is_public=False, server_only=False)
            self.by_nothing[key] = self._ask(person, surface.call(absent)).outcome
        return self.by_nothing[key]

    def _of_admin(self, surface: Surface, table: Table) -> str:
        key = surface.label, table.id
        if key not in self.by_admin:
            self.by_admin[key] = self._ask(None, surface.call(table)).outcome
        return self.by_admin[key]

    def _viewer(self, surface: Surface, person: Person) -> Iterator[Finding]:
        """Ask a surface of analysts as a viewer, for one table."""
        own = [table for table in self.tables if table.id in person.own]
        for table in (own or self.tables)[:1]:
            answer = self._ask(person, surface.call(table))
            yield from self._foreign(person, surface.label, answer, frozenset({table.id}))
            if answer.outcome == self._of_admin(surface, table):
                yield Finding("leak", surface.label, person.email, table.id, f"answered {answer.outcome} to a viewer")

    # files, metrics and tools

    def _files(self, person: Person) -> Iterator[Finding]:
        """Ask for foreign files without a signature, and with the signature of another file."""
        own = next((t for t in self.tables if t.id in person.own and t.files and not t.server_only), None)
        foreign = [t for t in self.tables if t.id not in person.own and t.files][: self.check.each]
        paths = [
            (t, path)
            for t in foreign
            for path in (t.files[0], f"{t.files[0].rpartition('/')[0]}/_delta_log/{0:020}.json")
        ]
        for table, path in paths:
            yield from self._refused(person, table, f"{self.check.server.address}/files/{quote(path)}")
        if own is None or person.role not in _READS:
            return
        answer = self._ask(person, Call("POST", "/api/data/urls", {"files": {own.id: [own.files[0]]}}))
        try:
            url = json.loads(answer.text)["urls"][own.files[0]]
        except (ValueError, KeyError, TypeError):
            return
        url = url if "://" in url else f"{self.check.server.address}{url}"
        for table, path in paths:
            yield from self._refused(person, table, url.replace(quote(own.files[0]), quote(path)))
        if "expires=" in urlsplit(url).query:
            later = re.sub(r"expires=(\d+)", lambda found: f"expires={int(found[1]) + 1}", url)
            yield from self._refused(person, own, later)

    def _refused(self, person: Person, table: Table, url: str) -> Iterator[Finding]:
        self.report.requests += 1
        headers = {"Authorization": f"Bearer {person.token}"} if url.startswith(self.check.server.address) else {}
        with self.check.web.exchange("GET", url, headers) as answer:
            status = answer.status
            if status >= 400:  # noqa: PLR2004
                answer.read()
                return
        yield Finding(
            "leak", FILES, person.email, table.id, f"answered {status} to an address that was not signed for it"
        )

    def _metrics(self, person: Person) -> Iterator[Finding]:
        """Ask for the metrics that a person does not see in the list, and for those that they see."""
        every = {each["name"] for each in self.check.server.get("/api/metrics")["metrics"]}
        answer = self._ask(person, Call("GET", "/api/metrics"))
        seen = {each["name"] for each in json.loads(answer.text).get("metrics", [])} if answer.status == 200 else set()  # noqa: PLR2004
        for route in METRICS:
            path = route.partition(" ")[2]
            for name in sorted(every):
                found = self._ask(person, Call("GET", path.replace("{name}", quote(name))))
                yield from self._foreign(person, route, found, frozenset())
                if name not in seen and found.status < 400:  # noqa: PLR2004
                    yield Finding("leak", route, person.email, None, f"answered {found.status} for the metric '{name}'")

    def _tools(self, person: Person) -> Iterator[Finding]:
        """Ask the tools that take no table, and report those that this check does not know."""
        listed = self._ask(person, Call("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))
        names = set(re.findall(r'"name": ?"(\w+)", ?"title"', listed.text))
        for name in sorted(names - TOOLS):
            yield Finding(
                "unknown", f"tool {name}", person.email, None, "this version of da does not know it; update da"
            )
        for method in ("resources/list", "prompts/list", "resources/templates/list"):
            answer = self._ask(person, Call("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": method}))
            yield from self._foreign(person, f"agents: {method}", answer, frozenset())
        for call in (tool("find", limit=200), tool("changes", since="1")):
            name = call.body["params"]["name"]
            yield from self._foreign(person, f"tool {name} of everything", self._ask(person, call), frozenset())

    def _shares(self, person: Person) -> Iterator[Finding]:
        """Ask for the tables of every share that is listed: those of groups, too."""
        if person.role not in _READS:
            return
        listed = self._ask(person, Call("GET", "/delta-sharing/shares"))
        for name in sorted(set(re.findall(r'"name": ?"([\w-]+)"', listed.text))):
            path = f"/delta-sharing/shares/{quote(name)}/all-tables?maxResults=10000"
            answer = self._ask(person, Call("GET", path))
            yield from self._foreign(person, f"GET {path.partition('?')[0]}", answer, frozenset())

    def _ask(self, person: Person | None, call: Call) -> Answer:
        """Send a request as a person, or as the administrator who runs the check."""
        self.report.requests += 1
        token = person.token if person is not None else self._admin_token()
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/html, */*"}
        body = None
        if call.body is not None:
            body = (urlencode(call.body) if call.form else json.dumps(call.body)).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded" if call.form else "application/json"
        url = f"{self.check.server.address}{call.path}"
        for pause in _PAUSES:
            with self.check.web.exchange(call.method, url, headers, body) as answer:
                text = answer.read().decode(errors="replace")
                found = Answer(answer.status, text, _outcome(answer.status, text))
            if found.status not in _BUSY:
                return found
            sleep(pause)
        raise DaError(
            f"the server is too busy for the check: {call.method} {call.path} answered {found.outcome}; try again later"
        )

    def _admin_token(self) -> str:
        admin = next((p for p in self.people if p.role == "admin"), None)
        if admin is None:
            raise DaError("the check needs an administrator among the people; give --user for one, too")
        return admin.token


def _outcome(status: int, text: str) -> str:
    """Return how a surface answered: the status, and the code of an error in JSON or of a tool."""
    try:
        body = json.loads(text)
    except ValueError:
        return str(status)
    if isinstance(body, dict) and "jsonrpc" in body:
        result = body.get("result") or {}
        failed = "error" in body or bool(result.get("isError"))
        return f"{status} {'error' if failed else 'ok'}"
    code = body.get("code") or body.get("errorCode") if isinstance(body, dict) else None
    if isinstance(body, dict) and "missing" in body and status < 400:  # noqa: PLR2004
        return f"{status} missing" if body["missing"] else str(status)
    return f"{status} {code}" if code and status >= 400 else str(status)  # noqa: PLR2004


def _pairs(
    people: Sequence[Person], tables: Callable[[Person], Sequence[str]], each: int, *, every_table: bool
) -> list[tuple[Person, str]]:
    """Choose pairs so that each person occurs at least `each` times, and if wanted each table that is anybody's."""
    chosen: dict[tuple[str, str], tuple[Person, str]] = {}
    theirs = {person.email: tables(person) for person in people}
    covered: set[str] = set()
    for number, person in enumerate(people):
        listed = theirs[person.email]
        start = number * each % len(listed) if listed else 0
        for table in islice(cycle(listed), start, start + min(each, len(listed))):
            chosen[person.email, table] = (person, table)
            covered.add(table)
    left = {t for listed in theirs.values() for t in listed} - covered if every_table else set()
    for table in sorted(left):
        asker = min(
            (p for p in people if table in set(theirs[p.email])), key=lambda p: sum(key[0] == p.email for key in chosen)
        )
        chosen[asker.email, table] = (asker, table)
    return [*chosen.values()]
