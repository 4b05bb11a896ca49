"""What the functions of a Jira source share: its warehouse, inbox and archive, and leave to be the one that writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from analyst import lease
from analyst.context import Context
from analyst.extracting import RebuildOutcome, ask_for_rebuild
from analyst.lease import Lease
from analyst.settings import Settings
from analyst.state import actor
from functions.extract.jira import registering
from functions.extract.jira.archive import Archive
from functions.extract.jira.backfilling import Scope
from functions.extract.jira.catalogue import Catalogue, is_needed
from functions.extract.jira.client import JiraClient
from functions.extract.jira.inbox import Inbox
from functions.extract.jira.instance import PARALLEL, Jira, client_of, desk_of
from functions.extract.jira.published import Look, look
from functions.extract.jira.transform.fields import Privacy, TransformOptions
from functions.extract.jira.warehouse import Warehouse

LOCAL_INTERVAL = 0.0
CLOUD_INTERVAL = 15.0


@dataclass(frozen=True, slots=True)
class Opened:
    """One source, as a request works with it."""

    ctx: Context
    source: str
    warehouse: Warehouse
    scope: Scope
    jira: Jira | None = None
    """The instance; `None` where the settings have no credential for it."""

    @property
    def inbox(self) -> Inbox:
        """The events that wait."""
        return Inbox(self.ctx.store, self.source)

    @property
    def archive(self) -> Archive:
        """The events that were folded."""
        return Archive(self.ctx.store, self.source)

    @contextmanager
    def alone(self, run_id: str) -> Iterator[Lease | None]:
        """Take leave to be the one that writes; `None` when somebody else has it."""
        held = lease.acquire(self.ctx.store, f"jira-{self.source}", run_id=run_id)
        if held is None:
            yield None
            return
        with held:
            yield held

    @contextmanager
    def look(self) -> Iterator[Look]:
        """Look at what is published now.

        Raises:
            ContractError: it can't be read.
        """
        settings = self.ctx.settings
        with look(self.ctx.store, self.source, settings.memory_limit, settings.scratch_dir) as published:
            yield published

    def rebuild(self, version: str | None) -> RebuildOutcome | None:
        """Have a snapshot built if the newest one lacks this version of the extract; that this fails is told, not raised."""
        if version is None or self.ctx.snapshots.is_built_from(self.source, version):
            return None
        return ask_for_rebuild(self.ctx.tasks.call, self.source)


def open_source(ctx: Context, name: str, *, parallel: int = PARALLEL, look_again: bool = False) -> Opened:
    """Open a source, its tables registered.

    Args:
        ctx: the request that works with it.
        name: what it is called.
        parallel: how many issues are fetched at the same time.
        look_again: whether Jira is asked anew which fields it has; else only when that is not known and needed.

    Raises:
        NotFoundError: there is no such source.
        InvalidInputError: it is of another type, or its config or custom fields can't be used.
    """
    settings = ctx.settings
    source, uuids = registering.register(ctx.state, settings, name, actor(ctx))
    scope = Scope(settings.jira_projects, registering.config_of(source).jql)
    client = client_of(settings)
    privacy = registering.config_of(source).privacy
    options = _options(settings, privacy, Catalogue(ctx.store, name), client, look_again=look_again)
    excluded = frozenset(source.excluded)
    warehouse = Warehouse(
        ctx.store, name, options, ctx.clock, settings.memory_limit, settings.scratch_dir, excluded, uuids
    )
    jira = None if client is None else Jira(client, desk_of(settings, options, client), parallel)
    return Opened(ctx, name, warehouse, scope, jira)


def _options(
    settings: Settings, privacy: Privacy, catalogue: Catalogue, client: JiraClient | None, *, look_again: bool
) -> TransformOptions:
    """Give what rows depend on besides the issues; fields that are configured by name are looked up."""
    custom = settings.jira_custom_fields
    told: list[Any] = [] if look_again and client is not None else catalogue.read()
    if client is not None and (look_again or (not told and is_needed(custom))):
        told = catalogue.ask(client)
    return TransformOptions.of(
        settings.jira_domain or "", custom, told, privacy=privacy, projects=settings.jira_projects
    )


def interval_of(settings: Settings) -> float:
    """Tell how many seconds lie between two publishes at least."""
    if settings.jira_fold_interval is not None:
        return settings.jira_fold_interval
    return LOCAL_INTERVAL if settings.data_url.startswith("file:") else CLOUD_INTERVAL
