"""What signing in leaves behind is deleted when it is of no use any more, and not before."""

from datetime import timedelta

from analyst.store import ABSENT
from analyst.sweep import Sweep
from tests.doubles.memory_store import MemoryStore

DAY = 86_400.0


def test_used_and_expired_credentials_are_deleted() -> None:
    clock = [0.0]
    store = MemoryStore(lambda: clock[0])

    def put(*keys: str) -> None:
        for key in keys:
            store.put(key, b"{}", if_version=ABSENT)

    put("state/used/a", "state/limits/x/a.json", "state/token-uses/t1/2026-01-01", "state/token-uses/t2/2026-01-01")
    clock[0] += 30 * DAY
    put("state/used/b", "state/limits/x/b.json", "state/token-uses/t1/2026-01-31")
    Sweep(store, timedelta(hours=24)).run()
    assert [entry.key for entry in store.list("state/")] == [
        "state/limits/x/b.json",
        "state/token-uses/t1/2026-01-31",
        "state/token-uses/t2/2026-01-01",
        "state/used/a",
        "state/used/b",
    ]
    clock[0] += 2 * DAY
    Sweep(store, timedelta(hours=24)).run()
    assert "state/used/a" not in [entry.key for entry in store.list("state/")]
