"""Sources may be below SOURCE_ROOTS, and nowhere else."""

import os
from pathlib import Path

import pytest

from analyst.connectors.files.places import open_place
from analyst.connectors.files.places.local import matches, why
from analyst.errors import SourceError


def names(path: object, *roots: object) -> list[str]:
    return [file.name for file in open_place(str(path), [str(root) for root in roots]).files()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a few files, beside a secret."""
    root = tmp_path / "root"
    for name in ("b.csv", "a.csv", "orders/2.csv", "orders/1.csv", "orders/old/0.csv", ".hidden.csv", ".git/x.csv"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a\n1\n")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/s.csv").write_text("password\n1\n")
    (tmp_path / "rooted").mkdir()
    (tmp_path / "rooted/r.csv").write_text("a\n1\n")
    return root


ALL = ["a.csv", "b.csv", "orders/1.csv", "orders/2.csv", "orders/old/0.csv"]


def test_a_folder_lists_its_files_by_name_without_hidden_ones(root: Path) -> None:
    assert names(root, root) == ALL
    assert names(f"{root}/", root) == ALL
    assert names(root.as_uri(), root) == ALL
    assert names(root, root.as_uri()) == ALL
    assert names(f"{root}/orders/../", root) == ALL
    assert names(root / "orders", root) == ["1.csv", "2.csv", "old/0.csv"]
    assert names(root / "a.csv", root) == ["a.csv"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.csv", ["a.csv", "b.csv"]),
        ("?.csv", ["a.csv", "b.csv"]),
        ("[ab].csv", ["a.csv", "b.csv"]),
        ("*/*.csv", ["orders/1.csv", "orders/2.csv"]),
        ("**/*.csv", ALL),
        ("**/0.csv", ["orders/old/0.csv"]),
        ("orders/*.csv", ["1.csv", "2.csv"]),
        ("*.parquet", []),
    ],
)
def test_a_glob_lists_the_files_that_it_matches(root: Path, pattern: str, expected: list[str]) -> None:
    assert names(f"{root}/{pattern}", root) == expected


def test_paths_match_globs_part_by_part() -> None:
    assert matches("a/**/c", "a/c")
    assert matches("a/**/c", "a/b/b/c")
    assert not matches("a/*/c", "a/c")
    assert not matches("*", "a/b")
    assert not matches("**", "")
    assert matches("**/**/**/**/**/x", "/".join("a" * 30) + "/x")


@pytest.mark.parametrize(
    "path",
    [
        "{root}/../secret",
        "{root}/../secret/s.csv",
        "{root}/../root/../secret",
        "file://{root}/%2e%2e/secret",
        "local://{root}/../secret",
        "{root}/*/../../secret/*.csv",
        "{root}/../secret/*.csv",
        "{root}/../rooted",
        "{root}ed",
        "/etc/passwd",
        "/",
        "//etc",
        "file:///etc",
        "memory://elsewhere",
        "s3://bucket/x",
        "dir::file://{root}",
        "simplecache::file:///etc/passwd",
        "zip://x.csv::file:///etc/x.zip",
        "http://169.254.169.254/latest/meta-data",
        "https://example.com/x.csv",
    ],
)
def test_a_path_that_leads_out_of_the_roots_is_refused(root: Path, path: str) -> None:
    with pytest.raises(SourceError, match=r"SOURCE_ROOTS|is not a path"):
        names(path.format(root=root), root)


@pytest.mark.parametrize(
    "path", ["", ".", "~/data", "file://host/data", "file://[::1/data", "a\x00b", "/nul\x00", "../secret", "a/../b"]
)
def test_an_invalid_path_is_refused(root: Path, path: str) -> None:
    with pytest.raises(SourceError, match=r"is not a path|NUL"):
        names(path, root)


@pytest.mark.parametrize(
    "path",
    ["orders", "./orders", "orders/", "sources/orders", "./sources/orders", "/sources/orders", "{root}/orders"],
)
def test_a_folder_has_the_same_name_wherever_its_root_is(root: Path, path: str) -> None:
    assert names(path.format(root=root), root) == ["1.csv", "2.csv", "old/0.csv"]
    assert names(path.format(root=root) + "/*.csv", root.parent / "rooted", root) == ["1.csv", "2.csv"]


def test_a_sub_folder_called_sources_takes_precedence_over_the_root(root: Path) -> None:
    assert names("sources", root) == names("/sources/", root) == ALL
    (root / "sources" / "orders").mkdir(parents=True)
    (root / "sources" / "orders" / "x.csv").write_text("a\n1\n")
    assert names("sources", root) == ["orders/x.csv"]
    assert names("sources/orders", root) == ["x.csv"]


@pytest.mark.parametrize("path", ["nothing", "sources/nothing", "/sources/nothing", "/sources/../secret", "s/*.csv"])
def test_the_error_about_a_relative_path_names_where_it_was_looked_for(root: Path, path: str) -> None:
    with pytest.raises(SourceError, match=r"no such file or folder \(/.*\)|SOURCE_ROOTS"):
        names(path, root)


def test_without_roots_nothing_may_be_read(root: Path) -> None:
    with pytest.raises(SourceError, match="SOURCE_ROOTS is not set"):
        names(root)


def test_a_missing_place_is_reported(root: Path) -> None:
    with pytest.raises(SourceError, match="no such file or folder"):
        names(root / "nothing", root)


def test_a_link_that_leads_out_is_a_file_that_may_not_be_read(root: Path) -> None:
    (root / "link.csv").symlink_to(root.parent / "secret/s.csv")
    (root / "linked").symlink_to(root.parent / "secret")
    (root / "inside.csv").symlink_to(root / "a.csv")
    (root / "loop").symlink_to(root)
    (root / "broken.csv").symlink_to(root / "gone.csv")
    files = {file.name: file for file in open_place(str(root), [str(root)]).files()}
    assert set(files) == {*ALL, "link.csv", "linked/", "inside.csv", "broken.csv"}
    assert "SOURCE_ROOTS" in str(files["link.csv"].problem)
    assert "SOURCE_ROOTS" in str(files["linked/"].problem)
    assert files["inside.csv"].problem is None


def test_a_folder_that_is_a_link_is_read_where_it_leads(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    assert names(tmp_path / "alias", root) == ALL
    assert names(root, tmp_path / "alias") == ALL
    (root / "out").symlink_to(tmp_path / "secret")
    with pytest.raises(SourceError, match="SOURCE_ROOTS"):
        names(root / "out", root)


def test_each_unreadable_file_is_its_own_problem(root: Path) -> None:
    os.mkfifo(root / "pipe.csv")
    (root / "broken.csv").symlink_to(root / "gone.csv")
    (root / "circle.csv").symlink_to(root / "circle.csv")
    (root / os.fsdecode(b"latin\xe9.csv")).write_text("a\n1\n")
    (root / os.fsdecode(b"caf\xe9")).mkdir()
    (root / os.fsdecode(b"caf\xe9") / "a.csv").write_text("a\n1\n")
    (root / "new\nline'\".csv").write_text("a\n1\n")
    (root / "deep").mkdir()
    folder = os.open(root / "deep", os.O_RDONLY)
    for _ in range(20):  # together longer than any path may be
        os.mkdir("d" * 250, dir_fd=folder)
        above, folder = folder, os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(above)
    os.close(folder)
    problems = {file.name: file.problem for file in open_place(str(root), [str(root)]).files()}
    assert [name for name in problems if problems[name] is None] == sorted([*ALL, "new\nline'\".csv"])
    assert problems["pipe.csv"] == "'pipe.csv' can't be read: it is not a regular file; remove it"
    assert problems["broken.csv"] == (
        "'broken.csv' can't be read: it is a link to a file that does not exist; remove it, or restore the file"
    )
    assert "'circle.csv' can't be read: " in str(problems["circle.csv"])
    assert "is not valid UTF-8; rename it" in str(problems["latin\\xe9.csv"])
    assert "is not valid UTF-8; rename it" in str(problems["caf\\xe9/"])
    deep = next(problem for name, problem in problems.items() if name.startswith("deep/"))
    assert "too long" in str(deep)


def test_a_file_is_marked_by_its_content_not_its_name(root: Path) -> None:
    place = open_place(str(root), [str(root)])
    before = {file.name: file.mark for file in place.files()}
    (root / "a.csv").write_text("a\n2\n")
    replaced = root / "new"
    replaced.write_text("a\n1\n")
    replaced.rename(root / "b.csv")
    after = {file.name: file.mark for file in place.files()}
    assert {name for name in before if before[name] != after[name]} == {"a.csv", "b.csv"}


def test_a_file_that_became_a_link_meanwhile_is_not_followed(root: Path, tmp_path: Path) -> None:
    place = open_place(str(root), [str(root)])
    (file,) = (file for file in place.files() if file.name == "a.csv")
    (root / "a.csv").unlink()
    assert place.mark(file) == ""
    (root / "a.csv").symlink_to(tmp_path / "secret/s.csv")
    with pytest.raises(SourceError, match="SOURCE_ROOTS"):
        place.local(file, tmp_path)


def test_a_missing_permission_is_reported_with_the_way_to_grant_it() -> None:
    assert "chmod -R a+rX" in why(PermissionError(13, "Permission denied"))
    assert why(IsADirectoryError(21, "Is a directory")) == "Is a directory"
