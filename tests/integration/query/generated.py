"""Statements made at random: of a grammar, and of the hostile and legitimate ones with parts of others put in."""

import random
from collections.abc import Iterator

from tests.integration.query import hostile, varied

_NAMES = [
    "orders",
    "shop.orders",
    "salaries",
    "vault.salaries",
    "plans",
    "x",
    "id",
    "customer",
    "amount",
    "day",
    '"a b"',
    "*",
]
_VALUES = [
    "1",
    "-1",
    "null",
    "'a'",
    "'/etc/passwd'",
    "$$x$$",
    "[1, 2]",
    "{'a': 1}",
    "1e308",
    "date '2026-01-01'",
    "true",
    "$p",
    "?",
]
_FUNCTIONS = [
    *(
        "count",
        "sum",
        "max",
        "list",
        "upper",
        "repeat",
        "range",
        "unnest",
        "read_text",
        "glob",
        "query",
        "current_setting",
    ),
    *(
        "duckdb_settings",
        "json_execute_serialized_sql",
        "getenv",
        "error",
        "hash",
        "list_transform",
        "struct_pack",
        "cast",
    ),
]
_GLUE = [
    *(
        "select",
        "from",
        "where",
        "group by",
        "order by",
        "limit",
        "join",
        "on",
        "using",
        "with",
        "as",
        "union all",
        "pivot",
    ),
    *(
        "unpivot",
        "describe",
        "summarize",
        "copy",
        "to",
        "set",
        "attach",
        "call",
        "(",
        ")",
        ",",
        ";",
        "--",
        "/*",
        "*/",
        "::int",
    ),
    *(
        "::varchar",
        "=",
        "||",
        "->",
        ".",
        "[",
        "]",
        "{",
        "}",
        "'",
        '"',
        "\n",
        "\t",
        "\u00a0",
        "\u202e",
        "\U0001f986",
        "lambda x: x",
    ),
    *(
        "recursive",
        "lateral",
        "asof",
        "qualify",
        "over ()",
        "sample 10%",
        "exclude (id)",
        "in",
        "between",
        "case when",
        "end",
    ),
]


def statements(seed: int, count: int) -> Iterator[str]:
    """Make statements; the same for the same seed."""
    chance = random.Random(seed)
    whole = [*hostile.STATEMENTS, *varied.STATEMENTS]
    for _number in range(count):
        yield chance.choice([_built, _mixed, _spliced])(chance, whole)


def _built(chance: random.Random, _whole: list[str]) -> str:
    return _query(chance, 0)


def _mixed(chance: random.Random, _whole: list[str]) -> str:
    parts = [*_NAMES, *_VALUES, *_GLUE, *(f"{each}(" for each in _FUNCTIONS)]
    return " ".join(chance.choices(parts, k=chance.randint(1, 25)))


def _spliced(chance: random.Random, whole: list[str]) -> str:
    """Replace some words of one statement by those of another."""
    words, others = (chance.choice(whole).split(" ") for _ in range(2))
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(words))
        words[place : place + chance.randint(0, 2)] = chance.choices(others, k=chance.randint(0, 3))
        words = words or [""]
    return " ".join(words)


def _query(chance: random.Random, depth: int) -> str:
    source = _source(chance, depth)
    text = f"select {', '.join(_value(chance, depth) for _ in range(chance.randint(1, 3)))} from {source}"
    if chance.random() < 0.3:
        text += f" where {_value(chance, depth)} = {_value(chance, depth)}"
    if chance.random() < 0.2:
        text += " group by all"
    if chance.random() < 0.2:
        text += f" order by {chance.choice(['1', 'all', 'id'])}"
    if chance.random() < 0.2:
        text += f" limit {chance.randint(0, 5)}"
    return text


def _source(chance: random.Random, depth: int) -> str:
    pick = chance.random()
    if depth < 3 and pick < 0.25:
        return f"({_query(chance, depth + 1)}) t{depth}"
    if depth < 3 and pick < 0.35:
        return f"{_source(chance, depth + 1)} {chance.choice(['join', 'cross join', 'positional join', ','])} {_source(chance, depth + 1)}"
    if pick < 0.5:
        return f"{chance.choice(_FUNCTIONS)}({_value(chance, 3)})"
    return chance.choice(_NAMES[:7])


def _value(chance: random.Random, depth: int) -> str:
    pick = chance.random()
    if depth < 3 and pick < 0.2:
        return f"{chance.choice(_FUNCTIONS)}({_value(chance, depth + 1)})"
    if depth < 3 and pick < 0.3:
        return f"({_query(chance, depth + 1)})"
    return chance.choice([*_NAMES, *_VALUES])
