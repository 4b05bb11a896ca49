"""Parameters of statements: what is one, and what the texts of a form mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.pages import parameters


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("select $a, $b, $a", ("a", "b")),
        ("select '$a', \"$b\", e'\\'$c', $d", ("d",)),
        ("select 1 -- $a\n, $b /* $c\n*/ , $$ $d $$, $t$ $e $t$, $f", ("b", "f")),
        ("select a$b from x$y", ()),
        ("select $1 + $2", ("1", "2")),
        ("select 'it''s $a', $größe", ("größe",)),
        ("select /* $a", ()),
        ("", ()),
    ],
)
def test_parameter_names_are_found_outside_strings_and_comments(sql: str, names: tuple[str, ...]) -> None:
    assert parameters.names_in(sql) == names


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("  ", None), ("7", 7), ("-1.5e3", -1500.0), ("007", "007"), ("'7'", "7"), ("'it''s'", "it's"),
        ("TRUE", True), ("false", False), ("2026-01-01", "2026-01-01"), (" x ", " x "), ("9" * 30, "9" * 30), ("'", "'"),
        ("1e999", "1e999"), ("null", "null"),
    ],
)  # fmt: skip
def test_texts_become_the_values_that_they_spell(text: str, value: object) -> None:
    assert parameters.values_of({"n": text}) == {"n": value}


@given(st.text(alphabet="$'\"-/*a1 \n\\", max_size=60))
def test_any_text_can_be_scanned_for_parameters(sql: str) -> None:
    names = parameters.names_in(sql)
    assert all(f"${name}" in sql for name in names)
