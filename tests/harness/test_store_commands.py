"""Upkeep of a store: what is listed, what is found wrong, what is collected, kept and taken in, also when killed half-way."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.garbage import collect, garbage
from harness.identity import folder_digests
from harness.inventory import being_built, inventory, pinned, sweep_folders, users
from harness.merge import merge
from harness.runtime import Runtime
from harness.step import Step, Work
from harness.store import Store, locked
from harness.store_commands import main
from harness.sweep_record import ArmRecord, Failure, RunRecord, StepRef, SweepRecord, sweep_folder, write_failures, write_sweep
from harness.upkeep import UpkeepError, verify

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "peft", "mteb", "sklearn", "datasets", "wandb", "hydra", "omegaconf")


@dataclass(frozen=True)
class Text:
    text: str


def write(spec: Text, work: Work) -> None:
    sources = "".join((path / "out.txt").read_text() for path in work.inputs.values())
    (work.out / "out.txt").write_text(spec.text + sources)


def differently(spec: Text, work: Work) -> None:
    (work.out / "out.txt").write_text("other bytes")


POOL = Step("mined", 1, Text("pool"))
BASE = Step("finetune", 1, Text("base"), {"pairs": POOL})
ARM = Step("finetune", 1, Text("arm"), {"pairs": POOL})
LOOSE = Step("finetune", 1, Text("loose"), {"pairs": POOL})


def sweep_of(name: str, arms: dict[str, list[Step]], sweep_id: str = "0123456789ab") -> SweepRecord:
    runs = tuple(
        RunRecord(arm, 0, {step.label or step.name: StepRef(step.name, step.fingerprint) for step in steps})
        for arm, steps in arms.items()
    )
    records = tuple(ArmRecord(arm, (), "") for arm in arms)
    return SweepRecord(name, sweep_id, "Which?", "mean", (), "task_types", None, "baseline", (0,), "", (), records, runs)


@pytest.fixture
def store(runtime: Runtime) -> Store:
    """Four finished steps; a sweep asks for three of them."""
    made = Store(runtime.store_path)
    for step in (POOL, BASE, ARM, LOOSE):
        made.realize(step, write, runtime)
    write_sweep(made.root, sweep_of("question", {"baseline": [POOL, BASE], "arm": [POOL, ARM]}))
    return made


def call(store: Store, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command; baselines are the test's own, or none."""
    baselines = str(store.root.parent / "baselines")
    with pytest.raises(SystemExit) as left:
        main(["--store", str(store.root), "--baselines", baselines, *arguments])
    printed = capsys.readouterr()
    return int(left.value.code or 0), printed.out, printed.err


@contextmanager
def builder(runtime: Runtime, step: Step) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that is inside the body of a step."""
    program = f"""
import pathlib, time
from harness.runtime import Runtime
from harness.step import Step
from harness.store import Store
from tests.harness.test_store_commands import Text
def body(spec, work):
    (work.out / "half").write_text("half"); print("inside", flush=True); time.sleep(60)
Store(pathlib.Path({runtime.store!r})).realize(Step({step.name!r}, {step.version}, {step.spec!r}), body, {runtime!r})
"""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=REPOSITORY, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"inside\n"
        try:
            yield process
        finally:
            process.kill()


def test_ls_counts_and_names_who_uses_what(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(store, capsys, "ls", "--json")
    listed = json.loads(out)["kinds"]

    assert code == 0
    assert {kind: of["steps"] for kind, of in listed.items()} == {"finetune": 3, "mined": 1}
    assert listed["finetune"]["users"] == {"question@0123456789ab": 2}
    assert listed["finetune"]["unused"] == 1
    sizes = {kind: sum(path.stat().st_size for path in (store.root / kind).rglob("*") if path.is_file()) for kind in listed}
    assert {kind: of["bytes"] for kind, of in listed.items()} == sizes


def test_ls_long_tells_every_step_and_is_plain_in_a_pipe(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(store, capsys, "ls", "--long")
    rows = {line.split()[0]: line for line in out.splitlines() if "/" in line.split()[0]}

    assert set(rows) == {POOL.key, BASE.key, ARM.key, LOOSE.key}
    assert rows[LOOSE.key].endswith("nobody")
    assert rows[ARM.key].endswith("question@0123456789ab")
    assert out.isascii()
    assert "\x1b" not in out


def test_a_sound_store_verifies(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(store, capsys, "verify")

    assert code == 0
    assert "4 steps checked" in out


Damage = Callable[[Store, Runtime], None]


def edited(store: Store, _: Runtime) -> None:
    (store.payload(ARM) / "out.txt").write_text("edited")


def removed(store: Store, _: Runtime) -> None:
    (store.payload(ARM) / "out.txt").unlink()


def added(store: Store, _: Runtime) -> None:
    (store.payload(ARM) / "new.txt").write_text("")


def torn_record(store: Store, _: Runtime) -> None:
    path = store.folder(ARM) / "record.json"
    path.write_text(path.read_text()[:40])


def foreign_record(store: Store, _: Runtime) -> None:
    shutil.copyfile(store.folder(BASE) / "record.json", store.folder(ARM) / "record.json")


def torn_measurements(store: Store, _: Runtime) -> None:
    (store.folder(ARM) / "measured.json").write_text("{")


def rebuilt_input(store: Store, runtime: Runtime) -> None:
    shutil.rmtree(store.folder(POOL))
    store.realize(POOL, differently, runtime)


def left_over(store: Store, _: Runtime) -> None:
    (store.root / "finetune" / f"{'a' * 20}.partial" / "payload").mkdir(parents=True)


def no_record(store: Store, _: Runtime) -> None:
    (store.folder(ARM) / "record.json").unlink()


def torn_sweep(store: Store, _: Runtime) -> None:
    (sweep_folder(store.root, "question", "0123456789ab") / "sweep.json").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "kind", "named", "remedy"),
    [
        (edited, "corrupt", "out.txt: its bytes are not those of the record", "move"),
        (removed, "corrupt", "out.txt: is missing", "move"),
        (added, "corrupt", "new.txt: is not in the record", "move"),
        (torn_record, "corrupt", "record.json: corrupt record", "move"),
        (foreign_record, "corrupt", f"holds the record of {BASE.key}", "move"),
        (torn_measurements, "corrupt", "measured.json", "move"),
        (rebuilt_input, "stale", f"{ARM.key} was built from {POOL.key}", "move"),
        (left_over, "left over", "nobody is building it", "gc --delete"),
        (no_record, "no record", "has no record.json", "move"),
        (torn_sweep, "sweep", "sweep.json: not a sweep", "run the sweep again"),
    ],
)
def test_verify_names_what_is_wrong_and_the_remedy(
    store: Store, runtime: Runtime, capsys: pytest.CaptureFixture[str], damage: Damage, kind: str, named: str, remedy: str
) -> None:
    assert verify(store.root) == (4, [])
    damage(store, runtime)
    code, out, _ = call(store, capsys, "verify", "--json")
    findings = json.loads(out)["findings"]

    assert code == 1
    assert {finding["kind"] for finding in findings} == {kind}
    assert any(named in finding["message"] and remedy in finding["message"] for finding in findings)
    assert len(findings) == (3 if damage is rebuilt_input else 1)
    assert call(store, capsys, "verify")[0] == 1


def test_verify_finds_everything_at_once(store: Store, runtime: Runtime) -> None:
    for damage in (edited, added, left_over):
        damage(store, runtime)

    assert len(verify(store.root)[1]) == 3


def test_a_step_that_is_being_built_is_neither_wrong_nor_garbage(runtime: Runtime) -> None:
    store, step = Store(runtime.store_path), Step("finetune", 1, Text("slow"))
    with builder(runtime, step) as process:
        assert list(inventory(store.root).partial) == [step.key]
        assert being_built(store.root, step.key)
        assert verify(store.root) == (0, [])
        assert garbage(store.root, Path("none")).partial == {}

        process.send_signal(signal.SIGKILL)
        process.wait()

    assert not being_built(store.root, step.key)
    assert [finding.kind for finding in verify(store.root)[1]] == ["left over"]
    assert list(garbage(store.root, Path("none")).partial) == [step.key]


def test_gc_is_a_dry_run_until_told(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    before = folder_digests(store.root)
    code, out, _ = call(store, capsys, "gc")

    assert code == 0
    assert LOOSE.key in out
    assert "nothing was deleted" in out
    assert folder_digests(store.root) == before


def test_gc_deletes_what_nobody_asks_for_and_nothing_else(
    store: Store, runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    left_over(store, runtime)
    (store.root / "composed").mkdir()
    (store.root / "composed" / "x.json").write_text("{}")
    ledger = store.root / "ledger.sqlite"
    ledger.write_text("paid for")
    embeddings = store.root / "embeddings" / ("b" * 20)
    embeddings.mkdir(parents=True)
    assert call(store, capsys, "gc", "--delete")[0] == 0

    assert set(inventory(store.root).done) == {POOL.key, BASE.key, ARM.key}
    assert inventory(store.root).partial == {}
    assert list((store.root / "composed").iterdir()) == list((store.root / "locks").iterdir()) == []
    assert ledger.exists()
    assert embeddings.exists()
    assert len(sweep_folders(store.root)) == 1
    assert verify(store.root) == (3, [])
    assert store.realize(LOOSE, write, runtime), "what was collected can be built again"


def test_gc_keeps_what_kept_steps_were_built_from(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """A pinned checkpoint keeps its pairs, also when no sweep names them."""
    shutil.rmtree(store.root / "sweeps")
    call(store, capsys, "pin", LOOSE.key[:12])
    call(store, capsys, "gc", "--delete")

    assert set(inventory(store.root).done) == {POOL.key, LOOSE.key}
    assert call(store, capsys, "pin", "--unpin", LOOSE.key)[0] == 0
    call(store, capsys, "gc", "--delete")
    assert inventory(store.root).done == {}


def test_gc_deletes_a_sweep_only_by_its_full_name(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(store, capsys, "gc", "--delete", "--sweep", "question")[0] == 4
    call(store, capsys, "pin", "question")
    code, _, error = call(store, capsys, "gc", "--delete", "--sweep", "question@0123456789ab")
    assert code == 1
    assert "is pinned" in error
    assert set(inventory(store.root).done) == {POOL.key, BASE.key, ARM.key, LOOSE.key}

    call(store, capsys, "pin", "--unpin", "question")
    assert call(store, capsys, "gc", "--delete", "--sweep", "question@0123")[0] == 0
    assert inventory(store.root).done == {}
    assert sweep_folders(store.root) == []


@pytest.mark.parametrize("reference", ["../question@0123456789ab", "nothing@00", "question@ffff"])
def test_gc_deletes_no_folder_that_is_not_a_sweep_of_this_store(
    store: Store, capsys: pytest.CaptureFixture[str], reference: str
) -> None:
    outside = store.root / "question" / "0123456789ab"
    outside.mkdir(parents=True)
    shutil.copyfile(sweep_folder(store.root, "question", "0123456789ab") / "sweep.json", outside / "sweep.json")

    assert call(store, capsys, "gc", "--delete", "--sweep", reference)[0] == 4
    assert (outside / "sweep.json").exists()


def test_gc_keeps_what_a_committed_baseline_refers_to(
    store: Store, runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    """Baselines are stores of their own: record and sweep of the run, no weights."""
    folder = runtime.store_path.parent / "baselines" / "release"
    write_sweep(folder, sweep_of("old", {"baseline": [POOL, LOOSE]}))
    assert users(store.root, folder.parent)["baseline release"] == {POOL.key, LOOSE.key}
    call(store, capsys, "gc", "--delete")

    assert LOOSE.key in inventory(store.root).done


def test_gc_collects_nothing_while_a_need_is_unknown(
    store: Store, runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    for damage in (torn_sweep, torn_record):
        damage(store, runtime)
        code, _, error = call(store, capsys, "gc", "--delete")
        assert code == 1
        assert "nothing is collected" in error
        assert LOOSE.key in inventory(store.root).done
        write_sweep_again(store)


def write_sweep_again(store: Store) -> None:
    shutil.rmtree(store.root / "sweeps")
    write_sweep(store.root, sweep_of("question", {"baseline": [POOL, BASE], "arm": [POOL, ARM]}))


def test_gc_leaves_a_step_that_somebody_began_to_build_meanwhile(store: Store) -> None:
    found = garbage(store.root, Path("none"))
    assert list(found.steps) == [LOOSE.key]
    with locked(store.root, LOOSE.key):
        left = collect(store.root, found)

    assert left == {LOOSE.key: "somebody has just begun to build it"}
    assert store.done(LOOSE)


def test_a_collection_killed_inside_a_step_leaves_no_half_step(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record goes with the rename, before any file does."""

    def killed(folder: Path, **_: object) -> None:
        if folder.exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        collect(store.root, garbage(store.root, Path("none")))
    monkeypatch.undo()

    assert not store.done(LOOSE)
    assert [finding.kind for finding in verify(store.root)[1]] == ["left over"]
    collect(store.root, garbage(store.root, Path("none")))
    assert verify(store.root) == (3, [])


@pytest.mark.parametrize("what", ["finetune/", "finetune/ffff", "nothing", "../x/y"])
def test_pin_refuses_what_is_not_there_or_not_one(store: Store, capsys: pytest.CaptureFixture[str], what: str) -> None:
    assert call(store, capsys, "pin", what)[0] == 4
    assert pinned(store.root) == []


@pytest.fixture
def other(runtime: Runtime, tmp_path: Path) -> Store:
    """A second store: the shared pool, an arm of its own, a sweep with a failure."""
    made = Store(tmp_path / "other")
    theirs = replace(runtime, store=str(made.root))
    for step in (POOL, ARM):
        made.realize(step, write, theirs)
    folder = write_sweep(made.root, sweep_of("theirs", {"baseline": [POOL, ARM]}))
    write_failures(folder, {LOOSE.key: Failure(LOOSE.key, "finetune", "error", "no", "", "")})
    return made


@pytest.fixture
def ours(runtime: Runtime) -> Store:
    """A store with the pool and the baseline."""
    made = Store(runtime.store_path)
    for step in (POOL, BASE):
        made.realize(step, write, runtime)
    return made


def test_merge_copies_what_is_missing_with_equal_bytes(ours: Store, other: Store, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(ours, capsys, "merge", str(other.root))

    assert code == 0
    assert "1 steps copied, 1 there already, 1 sweeps copied" in out
    assert set(inventory(ours.root).done) == {POOL.key, BASE.key, ARM.key}
    assert folder_digests(ours.folder(ARM)) == folder_digests(other.folder(ARM))
    assert folder_digests(ours.root / "sweeps") == folder_digests(other.root / "sweeps")
    assert verify(ours.root) == (3, [])
    assert merge(ours.root, other.root).present == 2, "again: nothing left to do"


def test_merge_refuses_equal_fingerprints_with_unequal_digests_naming_both(
    ours: Store, runtime: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Store(tmp_path / "other")
    theirs = replace(runtime, store=str(other.root))
    other.realize(POOL, differently, theirs)
    other.realize(ARM, write, theirs)
    before = folder_digests(ours.root)
    code, _, error = call(ours, capsys, "merge", str(other.root))

    assert code == 1
    assert str(ours.folder(POOL)) in error
    assert str(other.folder(POOL)) in error
    assert folder_digests(ours.root) == before, "also the steps that do not conflict stay where they are"


def test_merge_refuses_a_consumer_of_other_bytes_than_ours(ours: Store, runtime: Runtime, tmp_path: Path) -> None:
    """The other store has thrown its own pool away; its arm would be stale here."""
    other = Store(tmp_path / "other")
    theirs = replace(runtime, store=str(other.root))
    other.realize(POOL, differently, theirs)
    other.realize(ARM, write, theirs)
    shutil.rmtree(other.folder(POOL))

    with pytest.raises(UpkeepError, match=f"was built from {POOL.key}"):
        merge(ours.root, other.root)


@pytest.mark.parametrize("damage", [edited, removed, added, torn_record, rebuilt_input])
def test_merge_takes_no_step_that_does_not_verify(ours: Store, other: Store, runtime: Runtime, damage: Damage) -> None:
    if damage is rebuilt_input:
        shutil.rmtree(ours.root / "mined")  # or the pools themselves would conflict
    damage(other, replace(runtime, store=str(other.root)))
    done = merge(ours.root, other.root)

    assert [finding.what for finding in done.left] == [ARM.key]
    assert "move" in done.left[0].message or "build it again" in done.left[0].message
    assert not ours.done(ARM)
    assert inventory(ours.root).partial == {}


@pytest.mark.parametrize("moment", ["copytree", "rename"])
def test_a_merge_killed_half_way_is_continued(ours: Store, other: Store, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def torn_copy(source: Path, target: Path, **_: object) -> None:
        target.mkdir(parents=True)
        (target / "out.txt").write_text("ha")
        raise KeyboardInterrupt

    if moment == "copytree":
        monkeypatch.setattr(shutil, "copytree", torn_copy)
    else:
        monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        merge(ours.root, other.root)
    monkeypatch.undo()

    assert not ours.done(ARM)
    assert list(inventory(ours.root).partial) == [ARM.key]
    assert merge(ours.root, other.root).copied == [ARM.key]
    assert verify(ours.root) == (3, [])


def test_merge_leaves_a_step_that_is_being_built_here(ours: Store, other: Store) -> None:
    with locked(ours.root, ARM.key):
        assert merge(ours.root, other.root).busy == [ARM.key]

    assert merge(ours.root, other.root).copied == [ARM.key]


def test_merge_writes_no_sweep_outside_the_store(ours: Store, other: Store) -> None:
    path = next((other.root / "sweeps" / "theirs").glob("*/sweep.json"))
    path.write_text(path.read_text().replace('"theirs"', '"../../escaped"'))
    done = merge(ours.root, other.root)

    assert [finding.kind for finding in done.left] == ["sweep"]
    assert not (ours.root.parent / "escaped").exists()


@pytest.mark.parametrize("target", ["self", "missing"])
def test_merge_names_a_store_that_makes_no_sense(ours: Store, capsys: pytest.CaptureFixture[str], target: str) -> None:
    path = ours.root if target == "self" else ours.root / "missing"

    assert call(ours, capsys, "merge", str(path))[0] == 4


def test_hostile_names_move_no_cursor(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    write_sweep(store.root, sweep_of("evil\x1b[2J", {"baseline": [LOOSE]}))
    for command in (["ls"], ["ls", "--long"], ["verify"], ["gc"]):
        _, out, error = call(store, capsys, *command)
        assert "\x1b" not in out + error

    assert "evil\\x1b[2J" in call(store, capsys, "ls")[1]


def test_the_command_imports_nothing_heavy_and_survives_a_closed_pipe(store: Store) -> None:
    probe = (
        "import atexit, json, runpy, sys; "
        f"atexit.register(lambda: sys.stderr.write(json.dumps([n for n in {HEAVY!r} if n in sys.modules]))); "
        "sys.argv = ['store', *sys.argv[1:]]; runpy.run_module('harness.store', run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-W", "ignore", "-c", probe, "ls", "--long", "--store", str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True, timeout=60)
    assert done.stderr == "[]"
    assert LOOSE.key in done.stdout

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY) as piped:
        assert piped.stdout is not None
        assert piped.stderr is not None
        piped.stdout.close()
        assert piped.stderr.read().decode() == "[]"


def test_collecting_locks_never_takes_one_that_is_held(store: Store, runtime: Runtime) -> None:
    """The file of a free lock goes and the next builder makes another; two builders never hold different files."""
    collect(store.root, garbage(store.root, Path("none")))
    step = Step("finetune", 1, Text("slow"))
    assert list((store.root / "locks").iterdir()) == []
    with builder(runtime, step):
        found = garbage(store.root, Path("none"))
        assert step.key not in found.locks
        collect(store.root, replace(found, locks={step.key: store.root / "locks" / "raced"}))
        assert being_built(store.root, step.key)
