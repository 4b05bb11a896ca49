"""What the tools do: calls of the port, and answers that fit a model and never hide what they leave out."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from da.agents.marks import Marks, Unmarked
from da.agents.row_diff import counted_sql, diff_sql
from da.agents.schemas import BY_NAME, TOOLS, Tool, check
from da.agents.warehouse import (
    ColumnFacts,
    Edition,
    Hit,
    Json,
    Question,
    Rows,
    TableFacts,
    TableState,
    ToolError,
    Warehouse,
)
from da.errors import DaError
from da.metrics.compilation import Metric, compile_metric

BUDGET: Final = 20_000
"""Characters of the rows or items of an answer, about 6,000 tokens: clients warn at 10,000 and cut at 25,000."""

_LONGEST_CELL: Final = 2_000
_SHORTEST_CELL: Final = 100
_BRIEF: Final = 300
"""Characters of a description in a list. `describe_table` has all of it."""
_WITH_COLUMNS: Final = 8
_MOST_COLUMNS: Final = 40
"""Tables whose columns are listed when they are found, and how many of each: a statement can follow without another call."""
_MOST_WORDS: Final = 24
_WORD: Final = re.compile(r"[^\W_]{2,}")
_PLURAL: Final = re.compile(r"(?<=\w{3})(ies|es|s)$")
_COMMON_WORDS: Final = re.compile(
    "about|all|am|an|and|any|are|as|at|be|been|between|by|can|did|do|does|each|every|for|from|give|had|has|have|how|if|in|is|it|"
    "its|list|many|me|more|most|much|of|on|or|our|per|show|tell|than|that|the|their|them|there|these|they|this|those|to|us|was|"
    "we|were|what|when|where|which|who|whose|with|you|your"
)
"""Words of questions that say nothing of what they are about."""
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools over the data of one caller. `now` is the time of the call. Only for people, text is not marked."""

    warehouse: Warehouse
    now: datetime
    marking: bool = True

    def offered(self) -> list[Tool]:
        """Return the tools that the caller may call, in a stable order."""
        return [tool for tool in TOOLS if tool.needs in self.warehouse.allowed]

    def call(self, name: str, arguments: Json) -> Json:
        """Call a tool and return its answer.

        Raises:
            KeyError: there is no such tool.
            ToolError: an agent can act on its message; text of others in it is marked.
        """
        tool = BY_NAME[name]
        if tool.needs not in self.warehouse.allowed:
            raise ToolError(
                f"the tool {name} needs the scope '{tool.needs}' and the role analyst, which this access token or its user "
                "does not have; ask the user for another token",
                scope=tool.needs,
            )
        marks = Marks() if self.marking else Unmarked()
        run: Callable[[Json, Marks], Json] = getattr(self, f"_{name}")
        try:
            found = run(check(tool, arguments), marks)
        except ToolError as error:
            raise self._marked(error, marks) from None
        except DaError as error:
            raise ToolError(str(error)) from None
        except Exception as error:
            explained = self.warehouse.explain(error)
            if explained is None:
                raise
            raise self._marked(explained, marks) from None
        notes = [note for note in (marks.note, *found.pop("notes", ())) if note]
        common = {"truncated": False, "total": None, "rest": None, "receipt": None}
        return {**common, **found, "notes": notes}

    @staticmethod
    def _marked(error: ToolError, marks: Marks) -> ToolError:
        if not error.is_data:
            return error
        text = marks.text(str(error))
        return ToolError(f"{text}\n{marks.note}", scope=error.scope)

    def _find(self, asked: Json, marks: Marks) -> Json:
        hits, notes = self.warehouse.find(asked.get("text", ""), asked["kind"]), []
        if not hits and asked.get("text"):
            hits = self._with_some_words(asked["text"], asked["kind"])
            notes += ["nothing has all of these words; these have some of them, the best first"] if hits else []
        page = hits[asked["offset"] : asked["offset"] + asked["limit"]]
        cut = False
        items: list[Json] = []
        with_columns = _WITH_COLUMNS if asked.get("text") else 0
        for hit in page:
            with_columns -= hit.kind == "table"
            columns = hit.columns[:_MOST_COLUMNS] if with_columns >= 0 else ()
            brief, is_cut = _brief(hit.description)
            cut = cut or is_cut
            items.append(
                {
                    "kind": hit.kind,
                    "id": hit.id,
                    "title": hit.title if hit.kind == "table" else marks.text(hit.title),
                    "description": marks.optional(brief),
                    "rows": hit.rows,
                    "updated": hit.updated,
                    "matched": list(hit.matched),
                    "sql_name": hit.sql_name,
                    "columns": [f"{name} {marks.kind(kind)}" for name, kind in columns],
                    "dimensions": list(hit.dimensions),
                }
            )
        shown = _fitting(items)
        end = asked["offset"] + shown
        more = end < len(hits)
        rest = f"call find again with offset={end}" if more else None
        if not hits and asked.get("text"):
            rest = "nothing has any of these words: use other words, or call find without a text to list everything"
        if any(len(hit.columns) > len(item["columns"]) for hit, item in zip(page, items, strict=True)):
            notes.append(
                f"columns are listed of the first {_WITH_COLUMNS} tables that a text finds, up to {_MOST_COLUMNS}; "
                "describe_table has all"
            )
        if cut:
            notes.append(f"descriptions are cut after {_BRIEF} characters; describe_table has all of them")
        return {
            **_edition(self.warehouse.edition()),
            "hits": items[:shown],
            "truncated": more,
            "total": len(hits),
            "rest": rest,
            "notes": notes,
        }

    def _with_some_words(self, text: str, kind: str) -> list[Hit]:
        """Find what has some words of a text. A word counts the more, the fewer have it; a plural also finds the singular."""
        words = [word for word in _WORD.findall(text.lower()) if not _COMMON_WORDS.fullmatch(word)]
        weights: dict[tuple[str, str], float] = {}
        known: dict[tuple[str, str], Hit] = {}
        for word in list(dict.fromkeys(words))[:_MOST_WORDS]:
            found = self.warehouse.find(word, kind) or self.warehouse.find(_PLURAL.sub("", word), kind)
            for place, hit in enumerate(found):
                key = (hit.kind, hit.id)
                before = known.get(key)
                matched = dict.fromkeys((*(before.matched if before else ()), *hit.matched))
                known[key] = replace(hit, matched=tuple(matched)[:10])
                weights[key] = weights.get(key, 0.0) + (1 + 1 / (place + 1)) / len(found) ** 0.5
        return [known[key] for key in sorted(known, key=lambda key: -weights[key])]

    def _describe_table(self, asked: Json, marks: Marks) -> Json:
        table = self.warehouse.table(asked["table"])
        columns = [column_json(column, marks) for column in table.columns[asked["column_offset"] :]]
        shown = _fitting(columns)
        end = asked["column_offset"] + shown
        more = end < len(table.columns)
        return {
            **_edition(self.warehouse.edition()),
            "table": table_json(table, marks),
            "columns": columns[:shown],
            "truncated": more,
            "total": len(table.columns),
            "rest": f"call describe_table again with column_offset={end}" if more else None,
            "notes": _outside(table),
        }

    def _describe_metric(self, asked: Json, marks: Marks) -> Json:
        found = self.warehouse.metric(asked["name"])
        return {**_edition(self.warehouse.edition()), "metric": metric_json(found, marks), "total": 1}

    def _sample_table(self, asked: Json, marks: Marks) -> Json:
        table = self.warehouse.table(asked["table"])
        found = self._ran(Question(f"select * from {table.sql_name}", limit=asked["rows"]), marks, offset=0)
        return {**found, "total": table.rows if table.rows is not None else found["total"]}

    def _query(self, asked: Json, marks: Marks) -> Json:
        offset = asked["offset"]
        sql = asked["sql"] if not offset else f"select * from (\n{_unended(asked['sql'])}\n) offset {offset:d}"
        question = Question(
            sql, asked.get("parameters", {}), asked["limit"], asked.get("snapshot"), whole=asked["whole_result"]
        )
        return self._ran(question, marks, offset=offset)

    def _run_metric(self, asked: Json, marks: Marks) -> Json:
        found = self.warehouse.metric(asked["name"])
        if found.get("compiled") is None or found.get("status") == "broken":
            raise ToolError(f"the metric {asked['name']!r} is broken: {found.get('problem')}", is_data=True)
        sql = compile_metric(
            Metric.from_json(found["compiled"]),
            by=asked.get("by", ()),
            where=asked.get("where", ()),
            grain=asked.get("grain"),
        )
        return self._ran(Question(sql, limit=asked["limit"]), marks, offset=0)

    def _changes(self, asked: Json, marks: Marks) -> Json:  # noqa: ARG002 - a tool; nothing in it is text of people
        number = self._snapshot_of(asked["since"])
        then, before = self.warehouse.tables_at(number)
        edition, after = self.warehouse.tables_at(None)
        if "table" in asked:
            table_id = self._id_in(asked["table"], before)
            before = {id_: each for id_, each in before.items() if id_ == table_id}
            after = {id_: each for id_, each in after.items() if id_ == table_id}
        changed = list(changes_between(before, after))
        shown = _fitting(changed)
        return {
            **_edition(edition),
            "since": {"snapshot": then.snapshot, "as_of": then.as_of},
            "tables": changed[:shown],
            "truncated": shown < len(changed),
            "total": len(changed),
            "rest": "call changes for one table with the argument table" if shown < len(changed) else None,
        }

    def _diff_table(self, asked: Json, marks: Marks) -> Json:
        found = self.warehouse.compare(asked["table"], self._snapshot_of(asked["since"]))
        sql = diff_sql(found.then.columns, found.now.columns, found.key)
        counts = {"added": 0, "changed": 0, "removed": 0}
        rows: Rows | None = None
        if found.then.files != found.now.files:
            counts |= {str(change): int(count) for change, count in found.run(counted_sql(sql), 10).rows}
            rows = found.run(sql, asked["limit"])
        known = frozenset({*found.key, "change", "columns", "before", "after"})
        fitted = None if rows is None else fit(replace(rows, is_outside=found.is_outside, known=known), sql, marks)
        total, shown = sum(counts.values()), 0 if fitted is None else fitted.rows
        change = next(iter(changes_between({"": found.then}, {"": found.now})), {})
        return {
            **_edition(found.edition),
            "since": {"snapshot": found.since.snapshot, "as_of": found.since.as_of},
            "key": list(found.key),
            "counts": counts,
            "schema_changes": {name: each for name, each in change.items() if name.startswith("columns_") and each},
            "columns": fitted.columns if fitted else [],
            "rows": fitted.shown if fitted else [],
            "truncated": shown < total,
            "total": total,
            "rest": "call diff_table with a greater limit, or download both versions" if shown < total else None,
            "notes": [
                *(fitted.notes if fitted else ()),
                *([] if found.key else ["the table has no key: a changed row counts as removed and added"]),
            ],
        }

    def _file_urls(self, asked: Json, marks: Marks) -> Json:  # noqa: ARG002 - a tool; nothing in it is text of people
        found = self.warehouse.files([self.warehouse.table(name).id for name in asked["tables"]])
        files = [
            {"table": table.id, "url": url, "size_bytes": size, "rows": rows}
            for table in found
            for url, size, rows in table.files
        ]
        shown = _fitting(files)
        rest = (
            "call file_urls for fewer tables at once"
            if len(asked["tables"]) > 1
            else "use the manifest of the API, or da sync"
        )
        expires = None if self.warehouse.is_mirror else next((table.expires_in for table in found), None)
        return {
            **_edition(self.warehouse.edition()),
            "files": files[:shown],
            "expires_in": expires,
            "truncated": shown < len(files),
            "total": len(files),
            "rest": rest if shown < len(files) else None,
        }

    def _verify_receipt(self, asked: Json, marks: Marks) -> Json:
        found = self.warehouse.verify(asked["receipt"])
        difference = found.get("difference")
        if difference:
            rows = {
                name: [marks.text(json.dumps(row)) for row in difference[name]]
                for name in ("removed_rows", "added_rows")
            }
            kept = {name: each[: _fitting(each)] for name, each in rows.items()}
            found = {**found, "difference": {**difference, **kept}}
        return {
            **_edition(self.warehouse.edition()),
            "verdict": found["verdict"],
            "message": found["message"] if "now it fails" not in found["message"] else marks.text(found["message"]),
            "verification": found,
            "receipt": asked["receipt"],
        }

    def _ran(self, question: Question, marks: Marks, *, offset: int) -> Json:
        found = self.warehouse.run(question)
        fitted = fit(found, question.sql, marks)
        is_cut = found.truncated or fitted.rows < len(found.rows)
        end = offset + fitted.rows
        total = offset + (found.count or len(found.rows)) if not found.truncated else self._count(question, offset)
        rest = None
        if is_cut and found.url is None:
            rest = f"call query with this sql and offset={end} (with ORDER BY), aggregate in SQL"
            rest += "" if self.warehouse.is_mirror else ", or set whole_result for a file with all rows"
        notes = list(fitted.notes)
        if is_cut and not found.truncated and found.receipt is not None:
            notes.append(f"the receipt covers all {len(found.rows)} rows that were computed, not only those shown")
        receipt = found.receipt
        if receipt is not None and any(
            (column["name"], column["type"]) != actual
            for column, actual in zip(fitted.columns, found.columns, strict=False)
        ):
            # A receipt must not be changed, so what it quotes can't be marked in it.
            receipt = None
            notes.append(
                "there is no receipt, because names or types of columns quote the data; name the columns with AS, and select "
                "members of structs"
            )
        return {
            **_edition(found.edition),
            "columns": fitted.columns,
            "rows": fitted.shown,
            "tables": list(found.tables),
            "sql": question.sql,
            "url": found.url,
            "truncated": is_cut and found.url is None,
            "total": total,
            "rest": rest if found.url is None else "fetch the file at url; it needs no credentials until it expires",
            "receipt": receipt,
            "notes": notes,
        }

    def _count(self, question: Question, offset: int) -> int | None:
        """Count the rows of a result of which only some were computed; `None` if that fails."""
        sql = f"select count(*) from (\n{_unended(question.sql)}\n)"
        try:
            counted = self.warehouse.run(Question(sql, question.parameters, 1, question.snapshot))
        except Exception as error:
            if self.warehouse.explain(error) is None:
                raise
            return None
        return offset + int(counted.rows[0][0])

    def _snapshot_of(self, since: str | int) -> int:
        """Return the snapshot that was current at a time, or the one with a number."""
        if isinstance(since, int) or since.strip().isdecimal():
            return int(since)
        kept = self.warehouse.snapshots_kept()
        at = _time(since, self.now)
        found = next((number for number, published in kept if _utc(datetime.fromisoformat(published)) <= at), None)
        if found is None:
            oldest = (
                f"the oldest kept snapshot is {kept[-1][0]}, published at {kept[-1][1]}" if kept else "there is none"
            )
            raise ToolError(
                f"no snapshot of {at.isoformat(timespec='minutes')} is kept: {oldest}; name that or a later one"
            )
        return found

    def _id_in(self, name: str, before: Mapping[str, TableState]) -> str:
        return name.lower() if name.lower() in before else self.warehouse.table(name).id


@dataclass(frozen=True, slots=True)
class Fitted:
    """Rows that fit the budget, marked: `rows` is how many of them are shown."""

    columns: list[Json]
    shown: list[list[Any]]
    rows: int
    notes: tuple[str, ...]


def fit(found: Rows, sql: str, marks: Marks) -> Fitted:
    """Mark the rows of a result and keep as many as the budget allows; whatever is cut is noted."""
    outside = found.is_outside
    kinds = [kind for _name, kind in found.columns]
    columns = [
        {
            "name": marks.name(name, found.known, sql) if outside else name,
            "type": marks.kind(kind) if outside else kind,
        }
        for name, kind in found.columns
    ]
    most = max(1, min(len(columns), BUDGET // (2 * _SHORTEST_CELL))) if columns else 0
    longest = max(_SHORTEST_CELL, min(_LONGEST_CELL, BUDGET // (2 * max(1, min(most, len(columns))))))
    cut_cells = 0
    shown: list[list[Any]] = []
    size = 0
    for row in found.rows:
        made: list[Any] = []
        for value, kind in zip(row[:most], kinds, strict=False):
            text, cut = _shortened(value, longest)
            cut_cells += cut
            made.append(marks.cell(text, kind) if outside else text)
        size += _length(made)
        if shown and size > BUDGET:
            break
        shown.append(made)
    notes = []
    if cut_cells:
        notes.append(
            f"{cut_cells} values are cut after {longest} characters and end with '… [+N]', the number of characters missing; "
            "use substr(column, start, length) for the rest"
        )
    if most < len(columns):
        notes.append(f"only the first {most} of {len(columns)} columns are shown; select the others by name")
    if len(shown) < len(found.rows):
        notes.append(f"only the first {len(shown)} of {len(found.rows)} rows fit")
    return Fitted(columns[:most], shown, len(shown), tuple(notes))


def _shortened(value: Any, longest: int) -> tuple[Any, int]:
    if not isinstance(value, str | list | dict):
        return value, 0
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) <= longest:
        return value, 0
    return f"{text[:longest]}… [+{len(text) - longest}]", 1


def column_json(column: ColumnFacts, marks: Marks) -> Json:
    """Return a column as an answer has it; what is not known is left out."""
    made: Json = {"name": column.name, "type": marks.kind(column.type)}
    if column.description:
        made["description"] = marks.text(column.description)
    if column.tags:
        made["tags"] = marks.each(column.tags)
    if column.is_outside:
        made["written_by_outsiders"] = True
    if column.statistics:
        made["statistics"] = _marked_values(column.statistics, marks)
    return made


def _marked_values(value: Any, marks: Marks) -> Any:
    """Mark every text in statistics: minima, frequent values and alerts quote the data."""
    if isinstance(value, str):
        return value if _is_time(value) else marks.text(value)
    if isinstance(value, dict):
        return {name: _marked_values(each, marks) for name, each in value.items()}
    return [_marked_values(each, marks) for each in value] if isinstance(value, list) else value


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def table_json(table: TableFacts, marks: Marks) -> Json:
    """Return a table as an answer has it."""
    return {
        "id": table.id,
        "sql_name": table.sql_name,
        "view": table.view,
        "description": marks.optional(table.description),
        "query_mode": table.query_mode,
        "rows": table.rows,
        "size_bytes": table.size_bytes,
        "updated": table.updated,
        "schedule": table.schedule,
        "primary_key": list(table.primary_key),
        "grain": marks.optional(table.grain),
        "notes": marks.each(table.notes),
        "tags": marks.each(table.tags),
        "owners": marks.each(table.owners),
        "tier": marks.optional(table.tier),
        "notice": marks.optional(table.notice),
        "profiled_at": table.profiled_at,
        "relations": [{"table": each.table, "on": each.on, "via": each.via} for each in table.relations],
        "written_by_outsiders": table.outside,
    }


def metric_json(found: Json, marks: Marks) -> Json:
    """Return a metric as an answer has it: all texts in it were written by people."""
    texts = {
        name: marks.optional(found.get(name))
        for name in ("display_name", "category", "description", "unit", "problem", "expression")
    }
    lists = {
        name: marks.each(found.get(name) or ())
        for name in ("notes", "synonyms", "questions", "filters", "owners", "tags")
    }
    return {
        "name": found["name"],
        "status": found.get("status"),
        "type": found.get("type"),
        "grain": found.get("grain"),
        "time_column": found.get("time_column"),
        "tables": list(found.get("tables") or ()),
        "dimensions": list(found.get("dimensions") or ()),
        **texts,
        **lists,
    }


def changes_between(before: Mapping[str, TableState], after: Mapping[str, TableState]) -> Iterable[Json]:
    """Yield what differs between two states, by table id."""
    for id_ in sorted(before.keys() | after.keys()):
        old, new = before.get(id_), after.get(id_)
        if old is not None and new is not None and old.hash == new.hash and old.columns == new.columns:
            continue
        was, is_ = (old.columns if old else {}), (new.columns if new else {})
        yield {
            "table": id_,
            "change": "added" if old is None else "removed" if new is None else "changed",
            "rows_before": old and old.rows,
            "rows_after": new and new.rows,
            "updated": new and new.updated,
            "columns_added": sorted(is_.keys() - was.keys()) if old else [],
            "columns_removed": sorted(was.keys() - is_.keys()) if new else [],
            "columns_retyped": sorted(name for name in was.keys() & is_.keys() if was[name] != is_[name]),
            "files_added": len((new.files if new else frozenset()) - (old.files if old else frozenset())),
            "files_removed": len((old.files if old else frozenset()) - (new.files if new else frozenset())),
        }


def _outside(table: TableFacts) -> list[str]:
    names = table.outside
    if not names:
        return []
    listed = ", ".join(names[:20]) + (f" and {len(names) - 20} others" if len(names) > 20 else "")  # noqa: PLR2004
    return [f"people outside the company write {listed}: query and sample_table mark the text of this table as data"]


def _edition(edition: Edition) -> Json:
    return {"snapshot": edition.snapshot, "as_of": edition.as_of}


def _brief(text: str | None) -> tuple[str | None, bool]:
    if text is None or len(text) <= _BRIEF:
        return text, False
    return f"{text[:_BRIEF]}… [+{len(text) - _BRIEF}]", True


def _length(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False))


def _fitting(items: Sequence[Any]) -> int:
    """Return how many of the first items fit the budget; always at least one."""
    size = 0
    for count, item in enumerate(items):
        size += _length(item)
        if count and size > BUDGET:
            return count
    return len(items)


def _unended(sql: str) -> str:
    return sql.rstrip().rstrip(";").rstrip()


def _time(text: str, now: datetime) -> datetime:
    if text.strip().lower() == "yesterday":
        return now - _DAY
    try:
        return _utc(datetime.fromisoformat(text.strip()))
    except ValueError:
        raise ToolError(
            f"'{text}' is not a snapshot or time; use the number of a snapshot, 'yesterday', or a time such as 2026-03-01"
        ) from None


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
