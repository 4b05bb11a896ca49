"""The grammar of types, which `da` and the server share."""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from da import types as grammar

NAMES = sorted(grammar._SIMPLE)
simple = st.sampled_from([*NAMES, "DECIMAL(18,3)", "DECIMAL(38, 0)", "GEOMETRY", "GEOMETRY('OGC:CRS84')", "Integer"])
members = st.sampled_from(["a", "_b1", '"a b"', '"say ""so"""', '"x; drop table y"', '"é"'])
labels = st.sampled_from(["''", "'a'", "'it''s'", "'); drop table x; --'"])


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    fields = st.lists(st.builds("{} {}".format, members, inner), min_size=1, max_size=3).map(", ".join)
    return st.one_of(
        st.builds("{}({})".format, st.sampled_from(["STRUCT", "UNION", "struct"]), fields),
        st.builds("MAP({}, {})".format, inner, inner),
        st.builds("{}{}".format, inner, st.sampled_from(["[]", "[3]", "[][2]", "[1234567]", "[-1]"])),
        st.lists(labels, min_size=1, max_size=3).map(lambda each: f"ENUM({', '.join(each)})"),
    )


types = st.recursive(simple, grown, max_leaves=6)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Draw the name of a type with a few characters replaced, inserted or missing."""
    text = draw(types)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + draw(st.sampled_from(["", "(", ")", "'", '"', ",", " ", ";", "[", "]", "\x00", "X"]))
            + text[at + 1 :]
        )
    return text


def checked(text: str) -> str | None:
    """Return the rebuilt type; `None` if the grammar refuses it."""
    with suppress(ValueError):
        return grammar.checked_type(text)
    return None


@given(types)
def test_the_spelling_of_a_rebuilt_type_is_final(text: str) -> None:
    rebuilt = checked(text)
    assert rebuilt is None or checked(rebuilt) == rebuilt


@given(st.one_of(damaged(), st.text(max_size=30)))
def test_no_text_outside_quotes_ends_a_type(text: str) -> None:
    rebuilt = checked(text)
    if rebuilt is not None:
        bare = re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"", "", rebuilt)
        assert re.fullmatch(r"[A-Za-z0-9_ ,()\[\]]*", bare)
        assert bare.count("(") == bare.count(")")


@pytest.mark.parametrize("name", NAMES)
def test_a_simple_type_name_is_unchanged(name: str) -> None:
    assert checked(name) == name


def test_the_server_writes_types_of_the_grammar_only() -> None:
    server = pytest.importorskip("analyst.types", reason="the server's library is not installed beside `da`")
    assert server._AS_IT_IS | server._CHECKED.keys() | (server._CAST.keys() - {'"NULL"'}) <= grammar._SIMPLE
    with pytest.raises(server.ContractError, match="is not a type"):
        server.checked_type("INTEGER); drop table x")


@pytest.mark.parametrize("depth", [31, 32, 33, 40])
@pytest.mark.parametrize("nested", [lambda inner: f"{inner}[]", lambda inner: f"STRUCT(a {inner})"])
def test_a_type_has_at_most_32_levels(depth: int, nested) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    text = "INTEGER"
    for _ in range(depth):
        text = nested(text)
    assert (checked(text) is None) == (depth > 32)


@pytest.mark.parametrize("size", [200_000, 200_001])
def test_a_type_has_at_most_200_000_characters(size: int) -> None:
    assert (checked(f"ENUM('{'x' * (size - 8)}')") is None) == (size > 200_000)
