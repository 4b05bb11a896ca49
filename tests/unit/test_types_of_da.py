"""The grammar of types: the server and `da`, which share no code, accept the same names and rebuild them alike."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from da import types as ours

theirs = pytest.importorskip("analyst.types", reason="the server's library is not installed beside `da`")

NAMES = sorted(ours._SIMPLE | theirs._SIMPLE)
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


def checked(grammar: object, text: str) -> str | None:
    """Return the rebuilt type; `None` if the grammar refuses it."""
    with suppress(ValueError, theirs.ContractError):
        return grammar.checked_type(text)  # type: ignore[attr-defined, no-any-return]
    return None


@given(st.one_of(types, damaged(), st.text(max_size=30)))
def test_both_grammars_accept_the_same_types_and_rebuild_them_alike(text: str) -> None:
    assert checked(ours, text) == checked(theirs, text)


@pytest.mark.parametrize("name", NAMES)
def test_both_grammars_know_the_same_names(name: str) -> None:
    assert checked(ours, name) == checked(theirs, name) == name


@pytest.mark.parametrize("depth", [31, 32, 33, 40])
@pytest.mark.parametrize("nested", [lambda inner: f"{inner}[]", lambda inner: f"STRUCT(a {inner})"])
def test_both_grammars_refuse_the_same_depth(depth: int, nested) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    text = "INTEGER"
    for _ in range(depth):
        text = nested(text)
    assert checked(ours, text) == checked(theirs, text)
    assert (checked(ours, text) is None) == (depth > 32)


@pytest.mark.parametrize("size", [200_000, 200_001])
def test_both_grammars_refuse_the_same_length(size: int) -> None:
    text = f"ENUM('{'x' * (size - 8)}')"
    assert checked(ours, text) == checked(theirs, text)
    assert (checked(ours, text) is None) == (size > 200_000)
