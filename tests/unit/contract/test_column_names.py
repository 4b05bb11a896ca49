"""A column is identified by the name that its source gives it, not by its position or its name here."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.contract.column_names import Header, Naming, unrelated
from analyst.errors import InvalidInputError, SourceError
from analyst.names import is_name, name_of, normalise

NAME, CITY = "\u0418\u043c\u044f", "\u0413\u043e\u0440\u043e\u0434"


def named(*headers: list[str], known: dict[str, str] | None = None, is_replaced: bool = True) -> list[list[str]]:
    files = [Header(f"{number}.csv", header) for number, header in enumerate(headers, start=1)]
    return [list(names) for names in Naming(known or {}, is_replaced=is_replaced).names(files)]


@pytest.mark.parametrize(
    ("original", "name"),
    [
        ("Order Date (UTC)", "order_date_utc"),
        ("_id", "_id"),
        ("\u010cas", "cas"),
        ("Gr\u00f6\u00dfe", "grosse"),
        ("\u0141\u00f3d\u017a", "lodz"),
        (NAME, "imya"),
        ("\u0429\u0443\u043a\u0430 2024", "shchuka_2024"),
        ("\u041e\u0431\u044a\u0451\u043c", "obyom"),
        ("\u0407\u0436\u0430\u043a", "yizhak"),
        ("\u03a0\u03bf\u03c3\u03cc", "poso"),
        ("Price\u2014net", "price_net"),
        ("\u0663", "_3"),
        ("%", "percent"),
        ("#", "number"),
        ("\u20ac", "euro"),
        ("\u65e5\u672c", "column_cf2abf"),
        ("\u5e74 2024", "_2024_a0fb54"),
        ("\u6708 2024", "_2024_f6f3c8"),
    ],
)
def test_an_original_in_any_script_becomes_a_name(original: str, name: str) -> None:
    assert name_of(original) == name


@given(st.text(string.printable, min_size=1, max_size=80))
def test_an_ascii_original_keeps_its_earlier_name(original: str) -> None:
    try:
        expected = normalise(original)
    except InvalidInputError:
        return
    assert name_of(original) == expected


@given(st.text(min_size=1, max_size=80))
def test_any_original_but_a_blank_one_has_a_name(original: str) -> None:
    if original.strip():
        assert is_name(name_of(original))
        assert name_of(original) == name_of(original)
    else:
        with pytest.raises(InvalidInputError):
            name_of(original)


@given(st.permutations([NAME, CITY, "\u65e5\u672c", "\u672c\u65e5", "%", "#", "a b", "C"]))
def test_names_do_not_depend_on_the_order_of_the_originals(originals: list[str]) -> None:
    first, other = named(originals, originals[::-1])
    assert first == other[::-1] == [name_of(original) for original in originals]


def test_a_column_without_an_original_is_named_by_its_position() -> None:
    assert named(["", "a", " "], ["b", ""]) == [["column0", "a", "column2"], ["b", "column1"]]


def test_letters_are_equal_in_any_case_and_encoding_of_accents() -> None:
    assert named(["Name", "\u00e9t\u00e9"], ["e\u0301te\u0301", "NAME"]) == [["name", "ete"], ["ete", "name"]]


def test_published_columns_keep_their_names() -> None:
    known = {"column0": NAME, "groe": "Gr\u00f6\u00dfe", "id": "id"}
    assert named(["Gr\u00f6\u00dfe", NAME, "ID"], known=known) == [["groe", "column0", "id"]]
    assert named([CITY, NAME], known=known, is_replaced=False) == [["gorod", "column0"]]


@pytest.mark.parametrize(
    ("headers", "known", "message"),
    [
        ([["a b", "a-b"]], {}, "1.csv: the columns 'a b' and 'a-b' would both be called 'a_b'; rename one of them"),
        ([["id", "ID"]], {}, "1.csv: the columns 'id' and 'ID' would both be called 'id'"),
        (
            [["a b"], ["a-b"]],
            {},
            "2.csv: the column 'a-b' would be called 'a_b', which is 'a b' in 1.csv; rename one of",
        ),
        ([["x" * 64], ["x" * 65]], {}, f"which is {'x' * 64!r} in 1.csv"),
        ([["c"], ["a-b"]], {"a_b": "a b"}, "'a_b', which is 'a b' in the published table; rename one of them"),
        (
            [["imya"]],
            {"imya": NAME},
            f"1.csv: the column 'imya' would be called 'imya', which is {NAME!r} in the published table",
        ),
    ],
)
def test_originals_that_would_share_a_name_get_different_ones(
    headers: list[list[str]], known: dict[str, str], message: str
) -> None:
    with pytest.raises(SourceError) as failure:
        named(*headers, known=known, is_replaced=False)
    assert message in str(failure.value)


def test_the_name_of_a_removed_original_is_free_once_none_of_its_rows_remain() -> None:
    assert named(["a-b"], known={"a_b": "a b"}) == [["a_b"]]
    assert Naming({"a_b": "a b"}).replaced({"a_b": "a-b"}) == [
        "the column 'a_b' is now read from 'a-b'; until the last sync it was read from 'a b'"
    ]
    with pytest.raises(SourceError, match="'a-b' would be called 'a_b', which is 'a b'"):
        named(["a-b"], ["a b"], known={"a_b": "a b"})


@pytest.mark.parametrize(
    ("files", "strangers"),
    [
        (["xy", "yz", "z"], None),
        (["x", "y", "xy"], None),
        (["x", ""], None),
        (["x"], None),
        (["x", "y"], ("1.csv", "0.csv")),
        (["xy", "y", "z", "zu", "v"], ("2.csv", "0.csv")),
        (["x", "y", "z", "xz"], ("1.csv", "0.csv")),
    ],
)
def test_files_without_a_common_column_are_reported(files: list[str], strangers: tuple[str, str] | None) -> None:
    notes = unrelated([(f"{number}.csv", dict.fromkeys(columns, "")) for number, columns in enumerate(files)])
    expected = [] if strangers is None else [f"{strangers[0]} has no column in common with {strangers[1]}"]
    assert [note.split(",")[0] for note in notes] == expected
