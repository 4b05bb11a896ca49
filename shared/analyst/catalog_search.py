"""Search over the catalog: tables with their columns, what is said of them, metrics, and the glossary.

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

from analyst import glossary
from analyst.access import AccessList, Caller
from analyst.descriptions import Texts
from analyst.glossary import Term
from analyst.metrics import checked_metrics
from analyst.metrics.checked_metrics import CheckedMetric, visible_metrics
from analyst.snapshots import Snapshot
from analyst.store import Store
from analyst.visible_tables import find

_WORD: Final = re.compile(r"[^\W_]+")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NAME, _TAG, _COLUMN, _TEXT = 8, 5, 3, 2
_PREFIX: Final = 0.5
_LONGEST_QUERY: Final = 12

Kind = Literal["table", "metric", "term"]
Document = tuple[Kind, str]


class Hit(BaseModel):
    """A table (by id), a metric or a term of the glossary (by name) that was found; `matched` names columns that match."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
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
    _texts: Texts = field(default_factory=Texts)
    _edition: int = 0
    _metrics: Mapping[str, CheckedMetric] = field(default_factory=dict)
    _terms: Mapping[str, Term] = field(default_factory=dict)

    def find(
        self, text: str, snapshot: Snapshot, access: AccessList, caller: Caller, texts: Texts, *, limit: int
    ) -> SearchAnswer:
        """Return the tables, metrics and terms that the caller may see and that have all words of a text."""
        words = list(dict.fromkeys(words_of(text)))[:_LONGEST_QUERY]
        with self._lock:
            self._refresh(snapshot, access, texts)
            index, metrics, terms = self._index, self._metrics, self._terms
        hits: list[Hit] = []
        shown = {metric.name for metric in visible_metrics(metrics, snapshot, access, caller)} if metrics else set()
        for kind, id_ in index.ranked(words) if words else ():
            if kind == "metric" and id_ in shown:
                definition = metrics[id_].defined.definition
                title = definition.display_name or id_
                hits.append(Hit(kind="metric", id=id_, title=title, description=definition.description))
            elif kind == "table" and (table := find(snapshot, access, caller, id_)) is not None:
                columns = [column.name for column in table.columns if any(w in column.name.lower() for w in words)]
                description = texts.description(table, access)
                hits.append(
                    Hit(kind="table", id=id_, title=table.view, description=description, matched=tuple(columns[:10]))
                )
            elif kind == "term" and id_ in terms:
                hits.append(Hit(kind="term", id=id_, title=id_, description=terms[id_].definition))
            if len(hits) > limit:
                break
        return SearchAnswer(hits=tuple(hits[:limit]), has_more=len(hits) > limit)

    def _refresh(self, snapshot: Snapshot, access: AccessList, texts: Texts) -> None:
        metrics = self._changed(checked_metrics.KEY)
        if metrics is not None:
            self._metrics = checked_metrics.parsed_bytes(metrics or None).metrics
        terms = self._changed(glossary.KEY)
        if terms is not None:
            self._terms = glossary.terms_of(terms or None)
        if access is not self._access:  # comparing it takes milliseconds, and it changes with every grant
            self._registry = hash(tuple((id_, table.description) for id_, table in access.tables.items()))
            self._access = access
        if texts is not self._texts:
            self._texts, self._edition = texts, self._edition + 1
        versions = sorted(self._versions.items())
        state = (snapshot.number, snapshot.catalog.built_at, self._registry, self._edition, *versions)
        if state != self._state:
            self._index = _built(snapshot, access, texts, self._metrics, self._terms)
            self._state = state

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
    snapshot: Snapshot,
    access: AccessList,
    texts: Texts,
    metrics: Mapping[str, CheckedMetric],
    terms: Mapping[str, Term],
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
        add(document, _TEXT, texts.description(table, access))
        for column in texts.columns(table):
            add(document, _COLUMN, column.name)
            add(document, _TEXT, column.description)
        said = texts.of(table)
        add(document, _TEXT, said.grain, *said.notes)
        add(document, _TAG, said.tier, *said.tags, *said.owners)
        for one in said.columns.values():
            add(document, _TAG, *one.tags)
    for metric in metrics.values():
        definition = metric.defined.definition
        named: Document = ("metric", definition.name)
        add(named, _NAME, definition.name, definition.display_name)
        add(named, _TAG, definition.category, *definition.synonyms, *definition.tags)
        add(named, _TEXT, definition.description, *definition.questions, *definition.notes)
    for term in terms.values():
        add(("term", term.name), _NAME, term.name)
        add(("term", term.name), _TAG, *term.synonyms, *term.tags, *term.owners)
        add(("term", term.name), _TEXT, term.definition)
        for link in term.links:  # what a term stands for is found by its words
            add((link.kind, link.id), _TAG, term.name, *term.synonyms)
    return _Index(postings, tuple(sorted(postings)))
