"""The pools of one process share what forks their workers."""

from pathlib import Path

import pytest

from analyst.query.pool import Limits, Pool

pytestmark = pytest.mark.server


def children() -> set[str]:
    """Return the processes that this one has started and that have not ended."""
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


def checked(pool: Pool) -> int:
    with pool.worker("ann") as worker:
        return len(worker.check("select 1").tables)


def test_pools_share_their_forking_process_until_the_last_pool_is_closed(tmp_path: Path) -> None:
    before = children()
    one, other = (Pool(Limits(workers=1), tmp_path / name) for name in ("one", "other"))
    assert checked(one) == 0
    started = children()
    assert checked(other) == 0
    assert children() == started
    one.close()
    assert checked(other) == 0
    assert children() == started
    other.close()
    assert children() == before
