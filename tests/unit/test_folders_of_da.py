"""The folders of a mirror's tables are possible on every system."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from da.mirror.workspace import Workspace

DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
names = st.one_of(
    st.sampled_from(sorted(DEVICES)).flatmap(lambda name: st.sampled_from([name, f"{name}_", f"{name}__", f"{name}x"])),
    st.from_regex(r"[a-z_][a-z0-9_]{0,62}", fullmatch=True),
)


@given(st.tuples(names, names), st.tuples(names, names))
def test_no_folder_is_named_like_a_device_and_no_two_tables_share_one(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    workspace = Workspace(Path("/work"))
    folder, second = workspace.folder(".".join(one)), workspace.folder(".".join(other))
    parts = folder.relative_to(workspace.parquet).parts
    assert len(parts) == 2
    assert not {part.lower() for part in parts} & DEVICES
    assert not any(part.endswith((".", " ")) or set(part) & set('<>:"/\\|?*') for part in parts)
    assert (str(folder).lower() == str(second).lower()) == (one == other)
