"""The tables of a Jira source in the registry: all that are new are registered, those that were taken out stay out."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from analyst.errors import InvalidInputError
from analyst.settings import Settings
from analyst.state import Actor, State, registry
from analyst.state.registry import NewTable, Source
from functions.extract.jira.backfilling import ORDER
from functions.extract.jira.parts import RAW
from functions.extract.jira.tables import TABLES
from functions.extract.jira.transform.fields import Privacy

TYPE: Final = "jira"

_DESCRIPTIONS: Final = {
    "issues": "Issues of Jira as they are now.",
    "comments": "Comments on issues.",
    "attachments": "Files attached to issues.",
    "changelog": "What was changed in issues: a row for each field that a change touched.",
    "issuelinks": "Links between issues, as each of the two has them.",
    "remote_links": "Links of issues to pages elsewhere.",
    "worklogs": "Work logged on issues.",
    RAW: "All that is known of each issue as a JSON document, of which the other tables are made.",
}


class JiraSource(BaseModel):
    """The config of a source of the type jira. Which instance that is, and what asks it, stands in the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    jql: str | None = None
    """Which issues are asked for, without ORDER BY; all when it is not said. Webhooks bring others all the same."""
    restricted: Literal["exclude", "include"] = "exclude"
    """Whether comments and logged work that Jira shows to some roles, groups or agents only are in the tables."""
    secured: Literal["include", "exclude"] = "include"
    """Whether issues with a security level are in the tables."""
    emails: Literal["include", "exclude"] = "include"
    """Whether people are given by their e-mail addresses where Jira shows them, or only by the ids of their accounts."""

    @property
    def privacy(self) -> Privacy:
        """What readers of the tables may see."""
        return Privacy(self.restricted == "include", self.secured == "include", self.emails == "include")

    @field_validator("jql")
    @classmethod
    def _no_order(cls, jql: str | None) -> str | None:
        if jql and ORDER.search(jql):
            raise ValueError("leave ORDER BY out: issues are read in an order of our own")
        return jql


class JiraTableOptions(BaseModel):
    """The options of a table of a source of the type jira: there are none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Registered(NamedTuple):
    """A source, and the uuids of its registered tables by name."""

    source: Source
    uuids: Mapping[str, str]


def register(state: State, settings: Settings, name: str, actor: Actor) -> Registered:
    """Register the tables of a source that are new, in one edit, and none when there are none.

    Raises:
        NotFoundError: there is no such source.
        InvalidInputError: it is of another type, or its config can't be used.
    """
    with state.read() as db:
        source = registry.get_source(db, name)
        known = {table.name: table.uuid for table in registry.list_tables(db, name)}
    if source.type != TYPE:
        raise InvalidInputError(f"the source {name!r} is of the type {source.type!r}, not {TYPE!r}")
    config_of(source)
    new = [_new_table(name, table) for table in TABLES if table not in known and table not in source.excluded]
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
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise InvalidInputError(f"the config of the source {source.name!r} can't be used: {problems}") from None


def _new_table(source: str, name: str) -> NewTable:
    """Describe a table. That of the raw documents is never public by itself, and not for laptops."""
    is_raw = TABLES[name].server_only
    return NewTable(
        id=f"{source}.{name}",
        description=_DESCRIPTIONS[name],
        server_only=is_raw,
        is_public=False if is_raw else None,
        profile_after_sync=not is_raw,
    )
