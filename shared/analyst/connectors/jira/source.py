"""A Jira source: its config, tables, scope and fields, and everything that its functions work with."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from analyst import lease
from analyst.connectors.jira.api.client import JiraClient
from analyst.connectors.jira.api.issues import PARALLEL, Jira, client_of, desk_of
from analyst.connectors.jira.inbox.archive import Archive
from analyst.connectors.jira.inbox.inbox import Inbox
from analyst.connectors.jira.issue.custom_fields import KIND, Privacy, TransformOptions, with_former_names
from analyst.connectors.jira.issue.tables import TABLES
from analyst.connectors.jira.warehouse.parts import RAW
from analyst.connectors.jira.warehouse.publish import Warehouse
from analyst.connectors.jira.warehouse.reader import Look, look
from analyst.context import Context
from analyst.errors import AnalystError, InvalidInputError
from analyst.extract_run import RebuildOutcome, Rebuilds
from analyst.lease import Lease
from analyst.quality.checks import Checks
from analyst.settings import Settings
from analyst.settings.kinds import CustomField
from analyst.state import Actor, State, actor, registry
from analyst.state.registry import NewTable, Source
from analyst.state.source_types import problems_of
from analyst.store import ABSENT, Store
from analyst.store.compare_and_swap import put_once

TYPE: Final = "jira"
_ORDER: Final = re.compile(r"\border\s+by\b", re.IGNORECASE)

_DESCRIPTIONS: Final = {
    "issues": "Issues in their current state.",
    "comments": "Comments on issues.",
    "attachments": "Files attached to issues.",
    "changelog": "Changes to issues: a row for each field that a change modified.",
    "issuelinks": "Links between issues, one row for each of the two.",
    "remote_links": "Links from issues to pages outside Jira.",
    "worklogs": "Work logged on issues.",
    RAW: "Everything known about each issue as a JSON document, from which the other tables are derived.",
}


class JiraSource(BaseModel):
    """The config of a Jira source. The instance and its credentials are in the settings.

    `jql`: the issues to read, without ORDER BY; by default all. Webhooks about other issues are folded nevertheless, and
    issues that no longer match stay.
    `restricted`: whether the tables have comments and worklogs that are visible only to roles, groups or agents.
    `secured`: whether the tables have issues with a security level. `emails`: whether people are named by the e-mail
    addresses that Jira shows, or only by their account ids.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    jql: str | None = None
    restricted: Literal["exclude", "include"] = "exclude"
    secured: Literal["include", "exclude"] = "include"
    emails: Literal["include", "exclude"] = "include"

    @property
    def privacy(self) -> Privacy:
        """Return what readers of the tables may see."""
        return Privacy(self.restricted == "include", self.secured == "include", self.emails == "include")

    @field_validator("jql")
    @classmethod
    def _no_order(cls, jql: str | None) -> str | None:
        if jql and _ORDER.search(jql):
            raise ValueError("remove ORDER BY: issues are read in a fixed order")
        return jql


class JiraTableOptions(BaseModel):
    """The options of a table of a Jira source: none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Registered(NamedTuple):
    """A source, and the uuids of its registered tables by name."""

    source: Source
    uuids: Mapping[str, str]


def register(state: State, settings: Settings, name: str, actor: Actor) -> Registered:
    """Register the tables of a source that are new, in one edit if there are any.

    Raises:
        NotFoundError: the source does not exist.
        InvalidInputError: it is of another type, or its config can't be used.
    """
    with state.read() as db:
        source = registry.get_source(db, name)
        known = {table.name: table.uuid for table in registry.list_tables(db, name)}
    if source.type != TYPE:
        raise InvalidInputError(f"the source {name!r} is of the type {source.type!r}, not {TYPE!r}")
    config_of(source)
    new = [new_table(name, table) for table in TABLES if table not in known and table not in source.excluded]
    if new:
        made = state.edit(lambda db: registry.register_discovered(db, actor, name, new, public=settings.tables_public))
        known = {table.name: table.uuid for table in made} | known
    return Registered(source, known)


def config_of(source: Source) -> JiraSource:
    """Read the config of a source.

    Raises:
        InvalidInputError: it can't be used.
    """
    try:
        return JiraSource.model_validate(source.config)
    except ValidationError as error:
        problems = "; ".join(problems_of(error, JiraSource))
        raise InvalidInputError(f"the config of the source {source.name!r} can't be used: {problems}") from None


def new_table(source: str, name: str) -> NewTable:
    """Return a new table. That of raw documents is never public by default, and stays on the server."""
    is_raw = TABLES[name].server_only
    return NewTable(
        id=f"{source}.{name}",
        description=_DESCRIPTIONS[name],
        server_only=is_raw,
        is_public=False if is_raw else None,
        profile_after_sync=not is_raw,
    )


@dataclass(frozen=True, slots=True)
class Scope:
    """The issues of a source: those of some or all projects that a query finds, if there is one."""

    projects: tuple[str, ...] = ()
    jql: str | None = None

    def __post_init__(self) -> None:
        """Reject a query with an order.

        Raises:
            InvalidInputError: it contains one.
        """
        if self.jql and _ORDER.search(self.jql):
            raise InvalidInputError("remove ORDER BY from the JQL: issues are read in a fixed order")

    def and_(self, *conditions: str, order: str = "") -> str:
        """Return the query for issues that meet further conditions."""
        projects = ", ".join(f'"{key}"' for key in self.projects)
        parts = [f"({self.jql})" if self.jql else "", f"project in ({projects})" if projects else "", *conditions]
        return " AND ".join(filter(None, parts)) + (f" ORDER BY {order} ASC" if order else "")


_KEPT_MEMBERS: Final = ("id", "name", "untranslatedName")


@dataclass(frozen=True, slots=True)
class FieldCatalog:
    """The fields of a source's instance, stored in the bucket."""

    store: Store
    source: str

    @property
    def key(self) -> str:
        """Its key in the bucket."""
        return f"extracts/{self.source}/fields.json"

    def read(self) -> list[Any]:
        """Return the known fields; none before Jira was asked."""
        found = self.store.read(self.key)
        return [] if found is None else _fields_in(found.data)

    def ask(self, client: JiraClient) -> list[Any]:
        """Ask Jira and store the answer with former names; while it does not respond, the known fields stay.

        Raises:
            UnavailableError: the store does not respond.
        """
        found = self.store.read(self.key)
        try:
            fields = [_kept(field) for field in client.fields() if _is_field(field)]
            client.settle()  # an anonymous visitor sees a few fields; the others would be treated as deleted
        except AnalystError:
            return [] if found is None else _fields_in(found.data)
        fields = with_former_names(fields, [] if found is None else filter(_is_field, _fields_in(found.data)))
        data = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
        if found is None or found.data != data:
            put_once(self.store, self.key, data, if_version=ABSENT if found is None else found.version)
        return fields


def _is_catalog_needed(fields: tuple[CustomField, ...]) -> bool:
    """Return whether some fields are configured by name."""
    return any(not field.field.startswith("customfield_") for field in fields)


def _fields_in(data: bytes) -> list[Any]:
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError:
        return []
    return fields if isinstance(fields, list) else []


def _kept(field: dict[str, Any]) -> dict[str, Any]:
    kept = {name: field[name] for name in _KEPT_MEMBERS if name in field}
    schema = field.get("schema")
    kind = schema.get("custom") if isinstance(schema, dict) else None
    return kept | ({KIND: kind} if isinstance(kind, str) else {})


def _is_field(field: object) -> bool:
    return isinstance(field, dict) and isinstance(field.get("id"), str)


LOCAL_INTERVAL = 0.0
CLOUD_INTERVAL = 15.0


@dataclass(frozen=True, slots=True)
class Opened:
    """A source during one request."""

    ctx: Context
    source: str
    warehouse: Warehouse
    scope: Scope
    jira: Jira | None = None
    """The instance; `None` without a credential in the settings."""

    @property
    def inbox(self) -> Inbox:
        """The events that wait to be folded."""
        return Inbox(self.ctx.store, self.source)

    @property
    def archive(self) -> Archive:
        """The folded events."""
        return Archive(self.ctx.store, self.source)

    @contextmanager
    def alone(self, run_id: str) -> Iterator[Lease | None]:
        """Hold the lease of the source's jobs; `None` if another job holds it."""
        held = lease.acquire(self.ctx.store, f"jira-{self.source}", run_id=run_id)
        if held is None:
            yield None
            return
        with held:
            yield held

    @contextmanager
    def look(self) -> Iterator[Look]:
        """Read what is published now.

        Raises:
            ContractError: it can't be read.
        """
        settings = self.ctx.settings
        with look(self.ctx.store, self.source, settings.memory_limit, settings.scratch_dir) as published:
            yield published

    def rebuild(self, version: str | None) -> RebuildOutcome | None:
        """Request a rebuild unless the newest snapshot contains this version of the extract; see `Rebuilds`."""
        return Rebuilds(self.ctx.snapshots, self.ctx.tasks.call, self.ctx.rebuild_later).request(self.source, version)


def open_source(ctx: Context, name: str, *, parallel: int = PARALLEL, look_again: bool = False) -> Opened:
    """Open a source, and register its tables.

    Args:
        ctx: the request.
        name: of the source.
        parallel: the number of issues fetched at the same time.
        look_again: whether Jira is asked again for its fields; otherwise only if they are needed and unknown.

    Raises:
        NotFoundError: the source does not exist.
        InvalidInputError: it is of another type, or its config or custom fields can't be used.
    """
    settings = ctx.settings
    source, uuids = register(ctx.state, settings, name, actor(ctx))
    scope = Scope(settings.jira_projects, config_of(source).jql)
    client = client_of(settings)
    privacy = config_of(source).privacy
    options = _options(settings, privacy, FieldCatalog(ctx.store, name), client, look_again=look_again)
    excluded = frozenset(source.excluded)
    check = Checks(ctx.store, name, ctx.clock, settings.memory_limit)
    warehouse = Warehouse(
        ctx.store, name, options, ctx.clock, settings.memory_limit, settings.scratch_dir, excluded, uuids, check
    )
    jira = None if client is None else Jira(client, desk_of(settings, options, client), parallel, options.sla_ids)
    return Opened(ctx, name, warehouse, scope, jira)


def _options(
    settings: Settings, privacy: Privacy, catalog: FieldCatalog, client: JiraClient | None, *, look_again: bool
) -> TransformOptions:
    """Return the options of the transform; fields configured by name are looked up."""
    custom = settings.jira_custom_fields
    fields: list[Any] = [] if look_again and client is not None else catalog.read()
    if client is not None and (look_again or (not fields and _is_catalog_needed(custom))):
        fields = catalog.ask(client)
    return TransformOptions.of(
        settings.jira_domain or "", custom, fields, privacy=privacy, projects=settings.jira_projects
    )


def interval_of(settings: Settings) -> float:
    """Return the least number of seconds between two publishes."""
    if settings.jira_fold_interval is not None:
        return settings.jira_fold_interval
    return LOCAL_INTERVAL if settings.data_url.startswith("file:") else CLOUD_INTERVAL
