"""Search over the catalog: tables with their columns and descriptions, metrics, and the glossary.

The index is built once for a state of the catalog and kept in memory. It knows hidden tables, so nothing in an answer
may depend on them: a rank counts only the fields of the table itself and the names of the terms linked to it, which
everybody sees, and hits are filtered by the one rule before they are returned.
"""

import re
import threading
import unicodedata
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from analyst import glossary
from analyst.access import AccessList, Caller
from analyst.catalog import Table
from analyst.descriptions import Texts
from analyst.glossary import Term
from analyst.metrics import checked_metrics
from analyst.metrics.checked_metrics import CheckedMetric, visible_metrics
from analyst.snapshots import Snapshot
from analyst.store import Store
from analyst.visible_tables import find

_WORD: Final = re.compile(r"[^\W_]+")
_CAMEL: Final = re.compile(r"[A-Z](?<=[a-z0-9].)")  # the capital first: it is found fast
_APART: Final = r" \g<0>"
_NAME, _TAG, _COLUMN, _TEXT = 8, 5, 3, 2
_PREFIX: Final = 0.5
_LONGEST_QUERY: Final = 12
_KEPT: Final = 200_000
"""Documents of words that were searched for, some 30 bytes each: one letter may find them all."""

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
    """Hits, best first. `has_more` says whether there are more."""

    model_config = ConfigDict(frozen=True)

    hits: tuple[Hit, ...]
    has_more: bool


class _Index:
    """Texts, and the documents that have them, with the weights of the texts there.

    All texts are searched as one string, with a line for each text, in a few milliseconds per megabyte. An index by
    words would have to be built first, which takes a multiple of that and delays the first search of a process. Most
    names of columns are those of many tables, so each text has one line. What is found for a word is kept.
    """

    def __init__(self, places: "_Places") -> None:
        self._documents: Sequence[Document] = tuple(places.numbers)
        self._places = [*places.of.values()]
        lines = _lines_of(places.of)
        self._text = "\n".join(lines)
        self._ends = [*accumulate(len(line) + 1 for line in lines)]
        self._found: dict[str, Mapping[int, float]] = {}
        self._kept = 0

    def ranked(self, words: Iterable[str]) -> list[Document]:
        """Return the documents that have all words or words beginning with them, best first."""
        found: Mapping[int, float] | None = None
        for word in words:
            weights = self._documents_with(word)
            if found is not None:
                weights = {each: weight + found[each] for each, weight in weights.items() if each in found}
            found = weights
        ranks = [(-weight, self._documents[number]) for number, weight in (found or {}).items()]
        return [document for _, document in sorted(ranks, key=lambda each: (each[0], each[1][1]))]

    def _documents_with(self, word: str) -> Mapping[int, float]:
        """Return the documents that have a word, or one beginning with it; threads may search for it twice, alike."""
        known = self._found.get(word)
        if known is None:
            known = {}
            for line, share in self._lines_with(word).items():
                for number, weight in self._places[line]:
                    if (shared := weight * share) > known.get(number, 0.0):
                        known[number] = shared
            self._kept += len(known) + 1
            if self._kept > _KEPT:
                self._found, self._kept = {}, len(known) + 1
            self._found[word] = known
        return known

    def _lines_with(self, word: str) -> dict[int, float]:
        """Return the lines that have a word, with 1, and those that only have longer ones beginning with it, with less."""
        text, ends, found = self._text, self._ends, dict[int, float]()
        line = 0
        # the word first, because what begins with letters is found fast
        for match in re.finditer(rf"{word}(?<![^\W_]{word})([^\W_])?", text):
            line = bisect_right(ends, match.start(), line)
            if match[1] is None:
                found[line] = 1.0
            else:
                found.setdefault(line, _PREFIX)
        return found


@dataclass(slots=True)
class CatalogSearch:
    """The index of a process, rebuilt when the catalog has changed. Thread-safe."""

    store: Store
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _state: tuple[object, ...] = ()
    _index: _Index = field(default_factory=lambda: _Index(_Places()))
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


def words_of(text: str) -> list[str]:
    """Return the words of a text, without accents and in lowercase: `orderDate` has two, as `order_date` has."""
    return _WORD.findall(_plain(text))


def _plain(text: str) -> str:
    return _without_accents(_CAMEL.sub(_APART, text)).lower()


def _without_accents(text: str) -> str:
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _lines_of(texts: Iterable[str]) -> list[str]:
    """Return texts as the words of a query are written, each as one line."""
    lines = _CAMEL.sub(_APART, "\n".join(text.replace("\n", " ") for text in texts)).split("\n")
    return [_without_accents(line).lower() for line in lines]


@dataclass(frozen=True, slots=True)
class _Places:
    """Texts → the numbers of the documents that have them, with their weights there."""

    of: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))
    numbers: dict[Document, int] = field(default_factory=dict)

    def add(self, document: Document, weight: float, *texts: str | None) -> None:
        """Say that a document has texts."""
        place = (self.numbers.setdefault(document, len(self.numbers)), weight)
        for text in texts:
            if text:
                self.of[text].append(place)

    def add_table(self, table: Table, texts: Texts, access: AccessList) -> None:
        """Add a table; nearly all have no more than their names and columns, so those are added without a call for each."""
        id_ = table.id
        document: Document = ("table", id_)
        number = self.numbers.setdefault(document, len(self.numbers))
        self.of[id_].append((number, _NAME))
        if table.view not in (table.name, f"{table.source}_{table.name}"):  # the words of these are in the id
            self.of[table.view].append((number, _NAME))
        is_described = id_ in texts.said or id_ in texts.imported
        description = texts.description(table, access) if is_described else access.description(id_, table.description)
        named, described = (number, _COLUMN), (number, _TEXT)
        if description:
            self.of[description].append(described)
        for column in texts.columns(table) if is_described else table.columns:
            self.of[column.name].append(named)
            if column.description:
                self.of[column.description].append(described)
        if is_described:
            people = texts.of(table)
            self.add(document, _TEXT, people.grain, *people.notes)
            self.add(document, _TAG, people.tier, *people.tags, *people.owners)
            for one in people.columns.values():
                self.add(document, _TAG, *one.tags)


def _built(
    snapshot: Snapshot,
    access: AccessList,
    texts: Texts,
    metrics: Mapping[str, CheckedMetric],
    terms: Mapping[str, Term],
) -> _Index:
    places = _Places()
    for table in snapshot.catalog.tables:
        places.add_table(table, texts, access)
    for metric in metrics.values():
        definition = metric.defined.definition
        named: Document = ("metric", definition.name)
        places.add(named, _NAME, definition.name, definition.display_name)
        places.add(named, _TAG, definition.category, *definition.synonyms, *definition.tags)
        places.add(named, _TEXT, definition.description, *definition.questions, *definition.notes)
    for term in terms.values():
        places.add(("term", term.name), _NAME, term.name)
        places.add(("term", term.name), _TAG, *term.synonyms, *term.tags, *term.owners)
        places.add(("term", term.name), _TEXT, term.definition)
        for link in term.links:  # what a term stands for is found by its words
            places.add((link.kind, link.id), _TAG, term.name, *term.synonyms)
    return _Index(places)
