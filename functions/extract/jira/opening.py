"""What the functions of a Jira source share: its warehouse, inbox and archive, and leave to be the one that writes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from analyst import lease
from analyst.context import Context
from analyst.extracting import RebuildOutcome, ask_for_rebuild
from analyst.lease import Lease
from analyst.settings import Settings
from analyst.state import actor
from functions.extract.jira import registering
from functions.extract.jira.archive import Archive
from functions.extract.jira.documents import Document
from functions.extract.jira.inbox import Inbox
from functions.extract.jira.transform.fields import CustomField, TransformOptions
from functions.extract.jira.warehouse import Warehouse

LOCAL_INTERVAL = 0.0
CLOUD_INTERVAL = 15.0


@dataclass(frozen=True, slots=True)
class Opened:
    """One source, as a request works with it."""

    ctx: Context
    source: str
    warehouse: Warehouse
    fetch: Callable[[str], Document] | None

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

    def rebuild(self, version: str | None) -> RebuildOutcome | None:
        """Have a snapshot built if the newest one lacks this version of the extract; that this fails is told, not raised."""
        if version is None or self.ctx.snapshots.is_built_from(self.source, version):
            return None
        return ask_for_rebuild(self.ctx.tasks.call, self.source)


def open_source(ctx: Context, name: str) -> Opened:
    """Open a source, its tables registered.

    Raises:
        NotFoundError: there is no such source.
        InvalidInputError: it is of another type, or its config or custom fields can't be used.
    """
    settings = ctx.settings
    source = registering.register(ctx.state, settings, name, actor(ctx))
    warehouse = Warehouse(
        ctx.store,
        name,
        options_of(settings),
        ctx.clock,
        settings.memory_limit,
        settings.scratch_dir,
        frozenset(source.excluded),
    )
    return Opened(ctx, name, warehouse, None)


def options_of(settings: Settings) -> TransformOptions:
    """Give what rows depend on besides the issues."""
    custom = [CustomField.model_validate(field.model_dump()) for field in settings.jira_custom_fields]
    return TransformOptions.of(settings.jira_domain or "", custom)


def interval_of(settings: Settings) -> float:
    """Tell how many seconds lie between two publishes at least."""
    if settings.jira_fold_interval is not None:
        return settings.jira_fold_interval
    return LOCAL_INTERVAL if settings.data_url.startswith("file:") else CLOUD_INTERVAL
