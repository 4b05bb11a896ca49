"""An actor stands still at any touch of the store, even past its lease, while others go on; then it wakes up."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import count

import pytest

from analyst.errors import NotFoundError
from analyst.rebuild.publishing import COPY
from tests.e2e.faults.actors import BACK_TO, DEEDS, Moving, edit, publish, rebuild, rollback, sweep
from tests.e2e.faults.fates import Touches
from tests.e2e.faults.places import Place
from tests.e2e.faults.readers import Seen
from tests.e2e.faults.scenes import STRIDE, Scene, check_copy, check_history, everything, prepare

THINNED = 2
"""Of the points one of so many has a pause: one before a touch is much like one after the touch before it."""


def overtake(scene: Scene, source: Moving) -> None:
    """Let others publish, build and edit, to whom any lease has lapsed."""
    source.move(source.generation + 1)
    for deed in (publish, rebuild, edit):
        assert deed(scene.later(), source)


def contend(scene: Scene, source: Moving) -> None:
    """Let others publish, and come for a snapshot that they may have to leave to whoever builds one."""
    source.move(source.generation + 1)
    assert publish(scene.store(), source)
    rebuild(scene.store(), source)


def sweep_all(scene: Scene, source: Moving) -> None:
    """Let a sweep find all that was there before 12 days old."""
    assert sweep(scene.sweeping(), source)


def go_back(scene: Scene, source: Moving) -> None:
    """Let others go back to an earlier snapshot, to whom any lease has lapsed."""
    assert rollback(scene.later(), source)


def pauses(
    scene: Scene, meanwhile: Callable[[Scene, Moving], None], points: Iterable[int] | None = None
) -> Iterator[tuple[Moving, Seen, bool]]:
    """Do the deed, with a pause at each of its touches; return the source, what the others have left, and how it ended."""
    for point in points or scene.chosen()[::THINNED]:
        source, seen = scene.begin(), list[Seen]()

        def go_on(source: Moving = source, seen: list[Seen] = seen) -> None:
            meanwhile(scene, source)
            seen.append(scene.look())

        acknowledged = scene.act(source, Touches(point, meanwhile=go_on))
        yield source, seen[0], acknowledged
        check_history(scene.written)


@pytest.mark.parametrize("deed", DEEDS)
def test_a_process_that_resumes_late_overwrites_no_newer_result(place: Place, deed: str) -> None:
    scene = prepare(deed, place)
    for source, left, acknowledged in pauses(scene, overtake):
        assert {*left.extracted.values(), *left.shown.values()} == {source.generation}
        after = scene.look(left)
        went_back = deed == "rollback" and after.snapshot > left.snapshot  # it had not begun when others overtook it
        assert acknowledged or not went_back
        assert rebuild(scene.store(), source)
        check_copy(scene.place.open())
        assert set(scene.look().shown.values()) == {BACK_TO if went_back else source.generation}


@pytest.mark.parametrize("deed", ["rebuild", "rollback"])
def test_a_process_that_resumes_late_undoes_no_rollback(place: Place, deed: str) -> None:
    scene = prepare(deed, place)
    of_the_copy = [point for point, (_, key) in enumerate(scene.points(), 1) if key == COPY]
    for source, left, acknowledged in pauses(scene, go_back, of_the_copy):
        assert acknowledged
        assert set(left.shown.values()) == {BACK_TO}
        for _ in range(2):
            assert scene.look(left) == left
            check_copy(scene.place.open())
            assert rebuild(scene.store(), source)


@pytest.mark.parametrize("deed", ["publish", "rebuild", "rollback"])
def test_changes_made_during_another_rebuild_are_published(place: Place, deed: str) -> None:
    scene = prepare(deed, place)
    for source, left, acknowledged in pauses(scene, contend):
        after = scene.look(left)
        assert set(after.extracted.values()) == {source.generation}
        built = set(left.shown.values()) == {source.generation}  # then whoever goes back does it afterwards
        assert not acknowledged or set(after.shown.values()) == {source.generation} or (built and deed == "rollback")


@pytest.mark.parametrize("deed", DEEDS)
def test_a_sweep_at_any_moment_deletes_nothing_needed(place: Place, deed: str) -> None:
    scene = prepare(deed, place)
    for source, left, acknowledged in pauses(scene, sweep_all):
        assert acknowledged
        after = scene.look(left)
        assert rebuild(scene.store(), source)
        scene.look(after)


def test_a_sweep_may_delete_the_target_of_a_rollback_which_then_succeeds_or_changes_nothing(place: Place) -> None:
    """It is kept no more: who goes back has it by then, or is told so, and nothing has changed."""
    scene = prepare("rollback", place)
    scene.old = everything(place.open())
    for point in scene.chosen():
        source, done = scene.begin(), False
        touches = Touches(point, meanwhile=lambda source=source: sweep_all(scene, source))  # type: ignore[misc]
        with suppress(NotFoundError):
            done = scene.act(source, touches)
        after = scene.look(scene.seen)
        assert set(after.shown.values()) == {BACK_TO if done else source.generation}
        check_history(scene.written)


@pytest.mark.parametrize("deed", DEEDS)
def test_readers_see_whole_states_while_an_actor_is_slow(place: Place, deed: str) -> None:
    scene = prepare(deed, place)
    source, seen, touched = scene.begin(), [scene.seen], count()

    def look() -> None:
        if place.kind == "file" or next(touched) % STRIDE == 0:
            seen.append(scene.look(seen[-1]))

    assert scene.act(source, Touches(None, meanwhile=look))
    assert scene.is_done(scene.look(seen[-1]))
