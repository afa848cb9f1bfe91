"""A collection beside sweeps that start at the worst moment: no step they believe in is lost."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import garbage as module
from harness.garbage import collect, garbage
from harness.inventory import inventory
from harness.runtime import Runtime
from harness.store import Store
from harness.store_commands import main
from harness.sweep_record import write_sweep
from harness.upkeep import UpkeepError, pin, verify
from tests.harness.test_store_commands import ARM, BASE, LOOSE, POOL, builder, sweep_of, write

NONE = Path("none")


@pytest.fixture
def store(runtime: Runtime) -> Store:
    """Four finished steps that nobody asks for: three are trained on the fourth."""
    made = Store(runtime.store_path)
    for step in (POOL, BASE, ARM, LOOSE):
        made.realize(step, write, runtime)
    return made


def start_sweep(store: Store) -> None:
    write_sweep(store.root, sweep_of("late", {"baseline": [POOL, BASE]}))


def start_sweep_that_names_no_inputs(store: Store) -> None:
    write_sweep(store.root, sweep_of("late", {"baseline": [BASE]}))


def begin_to_pin(store: Store) -> None:
    pin(store.root, BASE.key)


def set_a_baseline(store: Store) -> None:
    folder = store.root.parent / "baselines" / "main"
    folder.parent.mkdir()
    write_sweep(folder, sweep_of("late", {"baseline": [BASE]}))


ASKS = [start_sweep, start_sweep_that_names_no_inputs, begin_to_pin, set_a_baseline]
Ask = Callable[[Store], None]


def once(ask: Ask, store: Store) -> Callable[[], None]:
    """The asking, the first time it is called."""
    waiting = [ask]
    return lambda: waiting.pop()(store) if waiting else None


@pytest.mark.parametrize("ask", ASKS)
def test_what_is_asked_for_after_the_scan_is_kept_with_all_it_was_built_from(store: Store, ask: Ask) -> None:
    found = garbage(store.root, store.root.parent / "baselines")
    assert len(found.steps) == 4
    ask(store)
    left = collect(store.root, found)

    assert set(left) == set(inventory(store.root).done) == {POOL.key, BASE.key}
    assert "has just begun to ask for it" in left[BASE.key]
    assert verify(store.root) == (2, [])


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("moment", ["before the rename", "after the rename"])
def test_what_is_asked_for_while_it_is_put_aside_is_put_back(
    store: Store, monkeypatch: pytest.MonkeyPatch, ask: Ask, moment: str
) -> None:
    found = garbage(store.root, store.root.parent / "baselines")
    asking, rename = once(ask, store), Path.rename

    def renamed(path: Path, target: Path) -> Path:
        if path.parent.name in ("finetune", "mined") and moment == "before the rename":
            asking()
        done = rename(path, target)
        if path.parent.name in ("finetune", "mined") and moment == "after the rename":
            asking()
        return done

    monkeypatch.setattr(Path, "rename", renamed)
    left = collect(store.root, found)

    assert set(left) == set(inventory(store.root).done) == {POOL.key, BASE.key}
    assert verify(store.root) == (2, [])


def test_who_asks_after_the_last_look_finds_the_step_missing_and_builds_it(
    store: Store, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = garbage(store.root, NONE)
    asking, remove = once(start_sweep, store), shutil.rmtree
    seen: dict[str, bool] = {}

    def removed(folder: Path, **_: object) -> None:
        asking()  # the step is still on disk, under another name
        seen[folder.name] = any(store.folder(step).name in folder.name and store.done(step) for step in (POOL, BASE))
        remove(folder)

    monkeypatch.setattr(shutil, "rmtree", removed)
    collect(store.root, found)
    monkeypatch.undo()
    for step in (POOL, BASE):
        store.realize(step, write, runtime)

    assert seen, "premise: something was removed"
    assert not any(seen.values())
    assert verify(store.root) == (2, [])


def test_a_sweep_that_is_at_work_is_not_dropped(store: Store, runtime: Runtime) -> None:
    start_sweep(store)
    shutil.rmtree(store.folder(POOL))
    with builder(runtime, POOL), pytest.raises(UpkeepError, match=r"late@0123456789ab is at work \(mined/.* is being built"):
        garbage(store.root, NONE, ["late@0123456789ab"])


def test_a_dropped_sweep_that_starts_again_keeps_its_steps(store: Store) -> None:
    start_sweep(store)
    found = garbage(store.root, NONE, ["late@0123456789ab"])
    assert len(found.steps) == 4
    real = module.Asks.state
    asking = once(start_sweep, store)

    def state(asks: module.Asks) -> module.State:
        asking()
        return real(asks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.Asks, "state", state)
        left = collect(store.root, found)

    assert set(left) == set(inventory(store.root).done) == {POOL.key, BASE.key}


def test_the_command_says_what_it_left_and_counts_what_it_deleted(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def late(root: Path, found: module.Garbage) -> dict[str, str]:
        start_sweep(store)
        return collect(root, found)

    monkeypatch.setattr("harness.store_commands.collect", late)
    with pytest.raises(SystemExit) as left:
        main(["--store", str(store.root), "--baselines", "none", "gc", "--delete"])
    out = capsys.readouterr().out

    assert left.value.code == 0
    assert f"{BASE.key}: a sweep, pin or baseline has just begun to ask for it; left" in out
    assert out.splitlines()[-1].startswith("2 steps, ")


def test_two_collections_at_once_do_not_trip_over_each_other(store: Store) -> None:
    first, second = garbage(store.root, NONE), garbage(store.root, NONE)

    assert collect(store.root, first) == collect(store.root, second) == {}
    assert inventory(store.root).done == {}
