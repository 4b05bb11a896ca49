"""Whatever happens to a source, its increments come to what reading it in full comes to."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.doubles.memory_store import MemoryStore
from tests.examples import examples
from tests.unit.files.folder import Folder
from tests.unit.files.published import Published

pytestmark = pytest.mark.slow

Row = tuple[str, str, str]
"""The texts of a key, a cursor and a value."""

IDS = ["1", "2", "2.5", "007", "x", "12345678901234567890", "9007199254740993", "2024-01-01", "true"]
VALUES = ["", "1", "1.50", "007", "c", "true", "2024/01/01", "2024-01-01 10:00:00", "12345678901234567890", "nan"]
BATCHES = st.lists(
    st.lists(
        st.tuples(st.sampled_from(IDS), st.sampled_from(["same", "next", "next"]), st.sampled_from(VALUES)), max_size=3
    ),
    min_size=1,
    max_size=4,
)


def csv(rows: Sequence[Row]) -> str:
    return "id,at,v\n" + "".join(f"{','.join(row)}\n" for row in rows)


def in_full(content: str | bytes, name: str, home: Path) -> list[str]:
    published = Published(MemoryStore(), Folder(home / "full", home / "full work"))
    published.write(name, content)
    published.sync()
    return values(published)


def with_history(rows: Sequence[Row], replaced: Sequence[Row], home: Path) -> list[str]:
    """Read some rows in full, with the types that fit those that they replaced as well: a type is never narrowed."""
    published = Published(MemoryStore(), Folder(home / "full", home / "full work"))
    marked = [*((*row, "now") for row in rows), *((*row, "before") for row in replaced)]
    published.write("t.csv", "id,at,v,when\n" + "".join(f"{','.join(row)}\n" for row in marked))
    published.sync()
    return values(published, """ where "when" = 'now'""")


def values(published: Published, condition: str = "") -> list[str]:
    """Read the rows; numbers of several types are the same where their values are."""
    numbers = {"BIGINT", "DOUBLE", "DECIMAL(38,0)"}
    terms = ", ".join(
        f'cast("{name}" as double)' if kind in numbers else f'cast("{name}" as varchar)'
        for name, kind in sorted(published.types().items())
        if name != "when"
    )
    return sorted(map(repr, published.ask(f"select {terms} from t{condition}")))


@pytest.mark.parametrize("cursor", [None, "at"])
@given(BATCHES)
@example([[("1", "next", "a"), ("2.5", "next", "b")], [("1", "next", "A"), ("x", "next", "c")]])
@example([[("9007199254740993", "next", "1")], [("2.5", "next", "1")]])
@example([[("1", "same", "nan")], [("1", "same", "1")]])
@settings(max_examples=examples(2))
def test_with_a_key_rows_are_inserted_and_updated(cursor: str | None, batches: list[list[Row]]) -> None:
    with TemporaryDirectory() as folder:
        home, source, at = Path(folder), dict[str, Row](), 5
        replaced = list[Row]()
        published = Published(MemoryStore(), Folder(home / "files", home / "work"))
        published.options = {"sync_strategy": "incremental", "primary_key": ["id"], "cursor_column": cursor}
        for batch in batches:
            for key, step, value in batch:
                at += step == "next"
                source[key] = (key, str(at), value)
            published.write("t.csv", csv(list(source.values())))
            published.sync()
            replaced += source.values()
        if published.types().get("v") == "VARCHAR" and "nan" in {value for _, _, value in replaced}:
            replaced.append(("0", "0", "text"))  # `nan` is a number beside numbers; published alone, it stays a text
        assert values(published) == with_history(list(source.values()), replaced, home)


ODD = ["", "nan", "inf", "-inf"]
GROWTH = st.lists(
    st.lists(
        st.tuples(st.sampled_from(IDS), st.sampled_from(["same", "next", *ODD]), st.sampled_from(VALUES)), max_size=3
    ),
    min_size=1,
    max_size=4,
)


@given(GROWTH)
@example([[("1", "next", "a"), ("1", "nan", "a")], [("1", "same", "a"), ("1", "", "a"), ("1", "", "a")]])
@example([[("1", "inf", "1")], [("1", "next", "1")], [("1", "same", "1.50")]])
@settings(max_examples=examples(2))
def test_without_a_key_rows_are_added_once(batches: list[list[Row]]) -> None:
    with TemporaryDirectory() as folder:
        home, source, at = Path(folder), list[Row](), 5
        published = Published(MemoryStore(), Folder(home / "files", home / "work"))
        published.options = {"sync_strategy": "incremental", "cursor_column": "at"}
        for batch in [[("0", "next", "")], *batches]:
            for key, step, value in batch:
                at += step == "next"
                source.append((key, step if step in ODD else str(at), value))
            content = csv(source)
            published.write("t.csv", content)
            published.sync()
        assert values(published) == in_full(content, "t.csv", home)
        assert published.delta() == sorted(file.path for file in published.files())
