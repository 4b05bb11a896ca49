"""What a statement needs of the rows of each table that it names, found in its syntax tree.

A source that keeps its rows itself can leave out rows that the statement discards anyway. A condition counts only if it
holds for each row by itself: a comparison of one column with constants, joined by AND in the WHERE of the SELECT whose FROM
names the table. What is not certain is not pushed down; the statement applies all of its conditions again.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal

Json = dict[str, Any]
Operator = Literal["=", "<>", "<", "<=", ">", ">=", "in", "is null", "is not null"]
Value = int | bool | str | Decimal | date | datetime
"""A constant. A string may stand for a date or time; a datetime has a zone only if its type has one."""

_NOWHERE: Final = 1 << 40
_OPERATORS: Final[Mapping[str, Operator]] = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
_TURNED: Final[Mapping[Operator, Operator]] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_NULLS: Final[Mapping[str, Operator]] = {"OPERATOR_IS_NULL": "is null", "OPERATOR_IS_NOT_NULL": "is not null"}
_WHOLE: Final = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "INTEGER_LITERAL"})
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?)?")
_NO_NAMES: Final[Json] = {"map": ()}
_JOINS: Final = frozenset({"INNER", "LEFT", "RIGHT", "OUTER"})


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant of a statement: its DuckDB type and text. The type is `PARAMETER` if `text` names a parameter."""

    type: str
    text: str

    def value(self, parameters: Mapping[str, Any] | Sequence[Any]) -> Value | None:
        """Return the value; `None` if it has none that means the same elsewhere."""
        try:
            return _given(parameters, self.text) if self.type == "PARAMETER" else _read(self.type, self.text)
        except (ValueError, ArithmeticError):
            return None


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on a column (in lower case), with the constants that it is compared with."""

    column: str
    operator: Operator
    constants: tuple[Constant, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Filter":
        """Restore it from a JSON value."""
        return cls(value["column"], value["operator"], tuple(Constant(**each) for each in value["constants"]))


@dataclass(frozen=True, slots=True)
class Use:
    """One place at which a statement names a table; `at` is the offset of the name in bytes.

    The statement uses only rows that meet all `filters`. `most` is the number of rows that suffice if the filters are all
    that the statement asks of them: `None` for all rows, -1 for as many as its result may have. `is_local` says whether the
    name is that of a subquery (`with name as …`) and not of a table.
    """

    at: int
    filters: tuple[Filter, ...] = ()
    most: int | None = None
    skipped: int = 0
    is_local: bool = False

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Use":
        """Restore it from a JSON value."""
        return cls(**{**value, "filters": tuple(map(Filter.from_json, value["filters"]))})


def uses(node: Json) -> tuple[Use, ...]:
    """Return the places at which a statement names tables in a FROM, each with what it needs there."""
    found = _Uses()
    found.visit(node, frozenset())
    head = next(iter(found.made.values()), None)
    if len(found.made) == 1 and head is not None and (limit := _limited(node, head)) is not None:
        return (limit,)
    return tuple(found.made.values())


@dataclass(slots=True)
class _Uses:
    """A walk with the names of the subqueries that are visible where it is."""

    made: dict[int, Use] = field(default_factory=dict)

    def visit(self, tree: Any, local: frozenset[str]) -> None:
        """Visit a tree, in which the names `local` are those of subqueries."""
        for each in tree if isinstance(tree, list) else ():
            self.visit(each, local)
        if not isinstance(tree, dict):
            return
        if tree.get("type") == "RECURSIVE_CTE_NODE":
            local |= {str(tree["cte_name"]).lower()}
        for cte in tree.get("cte_map", _NO_NAMES)["map"]:
            self.visit(cte["value"], local)
            local |= {str(cte["key"]).lower()}
        if tree.get("type") == "SELECT_NODE":
            self._select(tree, local)
        if tree.get("type") == "BASE_TABLE" and "table_name" in tree:
            self._named(tree, (), local)
        for name, each in tree.items():
            if name != "cte_map":
                self.visit(each, local)

    def _select(self, node: Json, local: frozenset[str]) -> None:
        leaves = list(_leaves(node["from_table"]))
        filters = [each for each in map(_filter, _conjuncts(node["where_clause"])) if each is not None]
        aliases = {str(each.get("alias") or "").lower() for each in node["select_list"]}
        names = [_alias(each) for each in leaves]
        merged = {name.lower() for name in _merged(node["from_table"])}
        for leaf in leaves:
            if leaf["type"] != "BASE_TABLE" or leaf["sample"] is not None or leaf["column_name_alias"]:
                continue
            is_alone = len(leaves) == 1
            own = [
                each
                for owner, each in filters
                if (owner == _alias(leaf) and names.count(owner) == 1 if owner else each.column not in aliases)
                and (is_alone or each.operator != "is null")
                and each.column not in merged
            ]
            if node["sample"] is None and _joins_keep(node["from_table"]):
                # without an owner, a column that another table has too is refused when the statement is bound
                self._named(leaf, tuple(own), local)

    def _named(self, leaf: Json, filters: tuple[Filter, ...], local: frozenset[str]) -> None:
        at = leaf["query_location"]
        if at < _NOWHERE and at not in self.made:
            is_local = not leaf["catalog_name"] and not leaf["schema_name"] and leaf["table_name"].lower() in local
            self.made[at] = Use(at, filters, is_local=is_local)


def _leaves(source: Json) -> Iterator[Json]:
    if source["type"] == "JOIN":
        yield from _leaves(source["left"])
        yield from _leaves(source["right"])
    else:
        yield source


def _merged(source: Json) -> Iterator[str]:
    """Yield the columns that USING makes one of two."""
    if source["type"] == "JOIN":
        yield from source["using_columns"]
        yield from _merged(source["left"])
        yield from _merged(source["right"])


def _joins_keep(source: Json) -> bool:
    """Return whether a row of any table of a FROM that the WHERE discards could not change the other rows."""
    if source["type"] != "JOIN":
        return True
    return (
        source["join_type"] in _JOINS
        and source["ref_type"] in {"REGULAR", "CROSS"}
        and _joins_keep(source["left"])
        and _joins_keep(source["right"])
    )


def _alias(source: Json) -> str:
    return str(source.get("alias") or source.get("table_name") or "").lower()


def _conjuncts(where: Json | None) -> Iterator[Json]:
    if where is None:
        return
    if where["type"] == "CONJUNCTION_AND":
        for each in where["children"]:
            yield from _conjuncts(each)
    elif where["type"] == "COMPARE_BETWEEN":
        yield {"type": "COMPARE_GREATERTHANOREQUALTO", "left": where["input"], "right": where["lower"]}
        yield {"type": "COMPARE_LESSTHANOREQUALTO", "left": where["input"], "right": where["upper"]}
    else:
        yield where


def _filter(condition: Json) -> tuple[str, Filter] | None:
    """Return a condition and the table that its column names, which may be empty; `None` if it is not simple."""
    kind = condition["type"]
    if kind in _OPERATORS:
        operator, column, others = _OPERATORS[kind], condition["left"], [condition["right"]]
        if column["type"] != "COLUMN_REF":
            operator, column, others = _TURNED.get(operator, operator), condition["right"], [condition["left"]]
    elif kind == "COMPARE_IN":
        operator, column, others = "in", condition["children"][0], condition["children"][1:]
    elif kind in _NULLS:
        operator, column, others = _NULLS[kind], condition["children"][0], []
    else:
        return None
    names: Sequence[str] = column.get("column_names") or ()
    constants = [_constant(each) for each in others]
    if column["type"] != "COLUMN_REF" or len(names) not in (1, 2) or None in constants:
        return None
    made = Filter(names[-1].lower(), operator, tuple(each for each in constants if each is not None))
    return ("" if len(names) == 1 else names[0].lower()), made


def _constant(expression: Json) -> Constant | None:  # noqa: PLR0911 - one for each type
    if expression["type"] == "VALUE_PARAMETER":
        return Constant("PARAMETER", str(expression["identifier"]))
    kind = None
    if expression["type"] == "OPERATOR_CAST" and not expression["try_cast"]:
        kind, expression = str(expression["cast_type"]["id"]), expression["child"]
    if expression["type"] != "VALUE_CONSTANT" or expression["value"]["is_null"]:
        return None
    type_id, value = str(expression["value"]["type"]["id"]), expression["value"]["value"]
    if kind is not None and (type_id != "VARCHAR" or kind not in {"DATE", "TIMESTAMP", "BOOLEAN"}):
        return None
    match type_id, value:
        case "DECIMAL", int():
            scale = int(expression["value"]["type"]["type_info"]["scale"])
            return Constant("DECIMAL", str(Decimal(value).scaleb(-scale)))
        case "BOOLEAN", bool():
            return Constant("BOOLEAN", str(value).lower())
        case "VARCHAR", str():
            return Constant(kind or "VARCHAR", value)
    return Constant("INTEGER", str(value)) if type_id in _WHOLE and isinstance(value, int) else None


def _read(kind: str, text: str) -> Value | None:
    match kind:
        case "INTEGER":
            return int(text)
        case "DECIMAL":
            return Decimal(text)
        case "BOOLEAN":
            return {"t": True, "true": True, "f": False, "false": False}.get(text.lower())
        case "DATE":
            return date.fromisoformat(text) if _DAY.fullmatch(text) else None
        case "TIMESTAMP":
            return datetime.fromisoformat(text) if _MOMENT.fullmatch(text) else None
    return text if kind == "VARCHAR" else None


def _given(parameters: Mapping[str, Any] | Sequence[Any], name: str) -> Value | None:
    """Return the value of a parameter: by its name, or by its number from 1."""
    if isinstance(parameters, Mapping):
        found = parameters.get(name)
    else:
        number = int(name) if name.isdecimal() else 0
        found = parameters[number - 1] if 0 < number <= len(parameters) else None
    return found if isinstance(found, bool | int | str) else None


def _limited(node: Json, use: Use) -> Use | None:
    """Return how many rows suffice for a statement that only selects columns of the rows of one table."""
    source = node.get("from_table") or {}
    if node["type"] != "SELECT_NODE" or source.get("type") != "BASE_TABLE" or source["query_location"] != use.at:
        return None
    plain = all(
        each["type"] == "COLUMN_REF" or (each["type"] == "STAR" and not each["columns"] and each["expr"] is None)
        for each in node["select_list"]
    )
    grouped = node["group_expressions"] or node["having"] or node["qualify"] or node["sample"] or source["sample"]
    is_whole = node["aggregate_handling"] == "STANDARD_HANDLING" and not node["cte_map"]["map"]
    conjuncts = list(_conjuncts(node["where_clause"]))
    modifiers = node["modifiers"]
    if grouped or not plain or not is_whole or len(conjuncts) != len(use.filters) or len(modifiers) > 1:
        return None
    if not modifiers:
        return replace(use, most=-1)
    limit, offset = (modifiers[0].get(name) for name in ("limit", "offset"))
    counts = [0 if each is None else _count(each) for each in (limit, offset)]
    if modifiers[0]["type"] != "LIMIT_MODIFIER" or None in counts:
        return None
    most, skipped = (each or 0 for each in counts)
    return replace(use, most=-1 if limit is None else most, skipped=skipped)


def _count(expression: Json) -> int | None:
    made = _constant(expression)
    return int(made.text) if made is not None and made.type == "INTEGER" and int(made.text) >= 0 else None
