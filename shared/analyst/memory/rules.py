"""The rules of a person: the items of the memory that apply to them, which `da sync` writes into workspaces."""

import gzip
import hashlib
from collections.abc import Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from analyst.errors import AnalystError
from analyst.memory.item import Category, Item
from analyst.memory.items import Memory

HEADER: Final = "X-Memory-Rules"
"""The header of manifests with the ETag of the caller's rules: a laptop asks for them only if it has others."""

NO_RULES: Final = "none"


class Rule(BaseModel):
    """An item that applies to the caller. `reason` says why it is mandatory."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    title: str
    content: str
    category: Category
    tags: tuple[str, ...]
    tables: tuple[str, ...]
    status: Literal["approved", "mandatory"]
    reason: str | None


class RuleList(BaseModel):
    """The items that apply to the caller, mandatory ones first."""

    model_config = ConfigDict(frozen=True)

    rules: tuple[Rule, ...]


class EncodedRules:
    """A list of rules as JSON, and its ETag: `NO_RULES` if it is empty."""

    def __init__(self, items: Sequence[Item]) -> None:
        rules = RuleList(rules=tuple(Rule.model_validate(item.model_dump()) for item in items))
        self.body = rules.model_dump_json().encode()
        self.etag = hashlib.sha256(self.body).hexdigest()[:32] if items else NO_RULES
        self.gzipped = gzip.compress(self.body, compresslevel=1, mtime=0)


def header_of(memory: Memory) -> dict[str, str]:
    """Return the header of a manifest; none if the memory can't be read, because tables matter more."""
    try:
        return {HEADER: EncodedRules(memory.rules()).etag}
    except AnalystError:
        return {}
