"""What every store must do with keys: refuse those that could lead elsewhere, hold the odd ones, list them in order."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analyst.errors import InvalidInputError
from analyst.store import ABSENT, ANY, Store, look_into_folders

NewStore = Callable[[], Store]

BAD_KEYS = [
    "",
    "/",
    "/etc/passwd",
    "a/",
    "a//b",
    "..",
    "../a",
    "a/../b",
    "a/..",
    ".",
    "./a",
    "a/./b",
    "a\\b",
    "a\x00b",
    "a\nb",
    "a\x7f",
    "a/\ud800",
    ".store/lock",
    "x" * 256,
    "é" * 128,
    "/".join(["part"] * 300),
]
GOOD_KEYS = [
    "a",
    "a/b.json",
    "..a/b..",
    "...",
    ".storey",
    ".a",
    "a/.store/b",
    "a b/č?#%2e&=+.txt",
    "x" * 255,
    "-",
    "~",
    "日/本",
]


class KeySuite:
    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_a_key_that_could_lead_elsewhere_is_refused_everywhere(
        self, store: Store, tmp_path: Path, key: str
    ) -> None:
        here = tmp_path / "file"
        here.write_bytes(b"1")
        for call in (
            lambda: store.read(key),
            lambda: store.put(key, b"1", if_version=ANY),
            lambda: store.upload(key, here),
            lambda: store.download(key, tmp_path / "copy"),
            lambda: store.head(key),
            lambda: store.delete(key),
            lambda: store.sign(key, expires=1, filename="f"),
            lambda: store.local_path(key),
        ):
            with pytest.raises(InvalidInputError, match="is not a valid key"):
                call()

    @pytest.mark.parametrize("prefix", ["/", "/a", "a//", "../", "a/../", "./", "a\\", "a\x00", ".store/", "a//b"])
    def test_a_prefix_that_no_key_can_have_is_refused(self, store: Store, prefix: str) -> None:
        with pytest.raises(InvalidInputError):
            list(store.list(prefix))
        with pytest.raises(InvalidInputError):
            list(store.list_folders(prefix))

    def test_a_folder_is_named_with_its_slash(self, store: Store) -> None:
        with pytest.raises(InvalidInputError, match="slash"):
            list(store.list_folders("a"))

    @pytest.mark.parametrize("key", GOOD_KEYS)
    def test_an_odd_key_is_held_and_listed(self, store: Store, key: str) -> None:
        store.put(key, b"1", if_version=ABSENT)
        assert [entry.key for entry in store.list("")] == [key]
        assert [entry.key for entry in store.list(key)] == [key]
        assert store.read(key) is not None

    def test_a_listing_has_what_starts_with_the_prefix_in_order(self, store: Store) -> None:
        keys = ["a-b/x", "a.b", "a/b", "a/b.c", "a/b/", "ab", "b/ž", "b/z", "a/bc/d/e"]
        keys = sorted(key.removesuffix("/") for key in set(keys) - {"a/b/"})
        for key in reversed(keys):
            store.put(key, key.encode(), if_version=ABSENT)
        for prefix in (
            "",
            "a",
            "a/",
            "a/b",
            "a/bc/d",
            "a/bc/d/",
            "b/",
            "b/z",
            "x",
            "x/y/",
            "a/b/",
            ".",
            "..",
            ".s",
            ".store",
        ):
            assert [entry.key for entry in store.list(prefix)] == [key for key in keys if key.startswith(prefix)]

    def test_a_listing_has_versions_and_sizes(self, store: Store) -> None:
        version = store.put("a/b", b"12345", if_version=ABSENT)
        (entry,) = store.list("a/")
        head = store.head("a/b")
        assert head is not None
        for found in (entry, head):
            assert (found.key, found.version, found.size) == ("a/b", version, 5)

    def test_folders_are_those_that_have_objects_below(self, store: Store) -> None:
        for key in ("x/b/1", "x/a/1/2", "x/a-b/1", "x/file", "y/c/1"):
            store.put(key, b"1", if_version=ABSENT)
        store.delete("y/c/1")
        assert list(store.list_folders("x/")) == ["a", "a-b", "b"]
        assert list(store.list_folders("")) == ["x"]
        assert list(store.list_folders("y/")) == []
        assert list(store.list_folders("z/")) == []

    def test_one_object_of_every_folder_is_read(self, new_store: NewStore) -> None:
        store = new_store()
        keys = ["a/x", "a/b/x", "a/c/x", "a/c/y", "a/d/e/x", "a/*/x", "a/č [1]/x", "b/x/x", "a/bx"]
        versions = {key: store.put(key, key.encode(), if_version=ABSENT) for key in keys if key != "a/x"}
        found = look_into_folders(store, "a/", "x")
        assert [entry.key for entry in found] == ["a/*/x", "a/b/x", "a/c/x", "a/č [1]/x"]
        assert [entry.version for entry in found] == [versions[entry.key] for entry in found]
        assert look_into_folders(store, "a/c/", "x") == look_into_folders(store, "none/", "x") == []
