"""Search over the catalog: tables with their columns, what people say of them, and metrics.

The index is built once for a state of the catalog and kept in memory. It knows hidden tables, so nothing in an answer may
depend on them: a rank counts only the fields of the table itself, and hits are filtered by the one rule before they are
returned.
"""

import re
import threading
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from analyst import descriptions
from analyst.access import AccessList, Caller
from analyst.descriptions import Described
from analyst.metrics import checked
from analyst.metrics.checked import CheckedMetric, visible_metrics
from analyst.snapshots import Snapshot
from analyst.store import Store
from analyst.visible_tables import find

_WORD: Final = re.compile(r"[^\W_]+")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NAME, _TAG, _COLUMN, _TEXT = 8, 5, 3, 2
_PREFIX: Final = 0.5
_LONGEST_QUERY: Final = 12

Document = tuple[Literal["table", "metric"], str]


class Hit(BaseModel):
    """A table (by id) or a metric (by name) that was found; `matched` names columns that match."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["table", "metric"]
    id: str
    title: str
    description: str | None
    matched: tuple[str, ...] = ()


class SearchAnswer(BaseModel):
    """Hits, best first. `has_more` is whether there are further ones."""

    model_config = ConfigDict(frozen=True)

    hits: tuple[Hit, ...]
    has_more: bool


@dataclass(frozen=True, slots=True)
class _Index:
    """Words → documents with their weights; `words` are sorted, for prefixes."""

    postings: Mapping[str, Mapping[Document, float]]
    words: tuple[str, ...]

    def ranked(self, words: Iterable[str]) -> list[Document]:
        """Return the documents that have all words or words beginning with them, best first."""
        found: dict[Document, float] | None = None
        for word in words:
            weights: dict[Document, float] = {}
            place = bisect_left(self.words, word)
            while place < len(self.words) and self.words[place].startswith(word):
                share = 1.0 if self.words[place] == word else _PREFIX
                for document, weight in self.postings[self.words[place]].items():
                    weights[document] = max(weights.get(document, 0.0), weight * share)
                place += 1
            if found is not None:
                weights = {each: weight + found[each] for each, weight in weights.items() if each in found}
            found = weights
        return sorted(found or {}, key=lambda each: (-(found or {})[each], each[1]))


@dataclass(slots=True)
class CatalogSearch:
    """The index of a process, rebuilt when the catalog has changed. Thread-safe."""

    store: Store
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _state: tuple[object, ...] = ()
    _index: _Index = field(default_factory=lambda: _Index({}, ()))
    _access: AccessList | None = None
    _registry: int = 0
    _versions: dict[str, str | None] = field(default_factory=dict)
    _said: Mapping[str, Described] = field(default_factory=dict)
    _metrics: Mapping[str, CheckedMetric] = field(default_factory=dict)

    def find(self, text: str, snapshot: Snapshot, access: AccessList, caller: Caller, *, limit: int) -> SearchAnswer:
        """Return the tables and metrics that the caller may see and that have all words of a text."""
        words = list(dict.fromkeys(words_of(text)))[:_LONGEST_QUERY]
        with self._lock:
            self._refresh(snapshot, access)
            index, said, metrics = self._index, self._said, self._metrics
        hits: list[Hit] = []
        shown = {metric.name for metric in visible_metrics(metrics, snapshot, access, caller)} if metrics else set()
        for kind, id_ in index.ranked(words) if words else ():
            if kind == "metric" and id_ in shown:
                definition = metrics[id_].defined.definition
                title = definition.display_name or id_
                hits.append(Hit(kind="metric", id=id_, title=title, description=definition.description))
            elif kind == "table" and (table := find(snapshot, access, caller, id_)) is not None:
                about = said[id_].said.description if id_ in said else None
                columns = [column.name for column in table.columns if any(w in column.name for w in words)]
                description = about or access.description(id_, table.description)
                hits.append(
                    Hit(kind="table", id=id_, title=table.view, description=description, matched=tuple(columns[:10]))
                )
            if len(hits) > limit:
                break
        return SearchAnswer(hits=tuple(hits[:limit]), has_more=len(hits) > limit)

    def described(self) -> Mapping[str, Described]:
        """Return what people say of tables, by id."""
        with self._lock:
            said = self._changed(descriptions.KEY)
            if said is not None:
                self._said = descriptions.all_of(said or None)
            return self._said

    def _refresh(self, snapshot: Snapshot, access: AccessList) -> None:
        said = self._changed(descriptions.KEY)
        if said is not None:
            self._said = descriptions.all_of(said or None)
        metrics = self._changed(checked.KEY)
        if metrics is not None:
            self._metrics = checked.parsed_bytes(metrics or None).metrics
        if access is not self._access:  # comparing it takes milliseconds, and it changes with every grant
            self._registry = hash(tuple((id_, table.description) for id_, table in access.tables.items()))
            self._access = access
        state = (snapshot.number, snapshot.catalog.built_at, self._registry, *sorted(self._versions.items()))
        if state != self._state:
            self._index, self._state = _built(snapshot, access, self._said, self._metrics), state

    def _changed(self, key: str) -> bytes | None:
        """Return an object that has changed since it was read last, empty if it is gone; `None` if it has not."""
        found = self.store.read(key, unless=self._versions.get(key))
        version = None if found is None else found.version
        if key in self._versions and version == self._versions[key]:
            return None
        self._versions[key] = version
        return b"" if found is None else found.data


def words_of(text: str) -> Iterator[str]:
    """Yield the words of a text, without accents and in lowercase: `orderDate` has two, as `order_date` has."""
    plain = unicodedata.normalize("NFKD", _CAMEL.sub(" ", text))
    yield from _WORD.findall("".join(c for c in plain if not unicodedata.combining(c)).lower())


def _built(
    snapshot: Snapshot, access: AccessList, said: Mapping[str, Described], metrics: Mapping[str, CheckedMetric]
) -> _Index:
    postings: dict[str, dict[Document, float]] = {}

    def add(document: Document, weight: float, *texts: str | None) -> None:
        for text in texts:
            for word in words_of(text) if text else ():
                there = postings.setdefault(word, {})
                there[document] = max(there.get(document, 0.0), weight)

    for table in snapshot.catalog.tables:
        document: Document = ("table", table.id)
        add(document, _NAME, table.id, table.view)
        add(document, _TEXT, access.description(table.id, table.description))
        for column in table.columns:
            add(document, _COLUMN, column.name)
            add(document, _TEXT, column.description)
        known = said.get(table.id)
        if known is not None and known.registration == table.registration:
            people = known.said
            add(document, _TEXT, people.description, people.grain, *people.notes)
            add(document, _TAG, people.tier, *people.tags, *people.owners)
            for one in people.columns.values():
                add(document, _TEXT, one.description)
                add(document, _TAG, *one.tags)
    for metric in metrics.values():
        definition = metric.defined.definition
        named: Document = ("metric", definition.name)
        add(named, _NAME, definition.name, definition.display_name)
        add(named, _TAG, definition.category, *definition.synonyms, *definition.tags)
        add(named, _TEXT, definition.description, *definition.questions, *definition.notes)
    return _Index(postings, tuple(sorted(postings)))
