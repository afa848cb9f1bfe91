"""A step is there wholly or not at all, is built once, and is never read when its bytes do not match its record."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.record import RecordError
from harness.runtime import Runtime
from harness.step import Step, Work
from harness.store import BusyError, EmptyPayloadError, StaleError, Store


@dataclass(frozen=True)
class Text:
    text: str


def write(spec: Text, work: Work) -> None:
    sources = "".join((path / "out.txt").read_text() for path in work.inputs.values())
    (work.out / "out.txt").write_text(spec.text + sources)
    work.measured["length"] = len(spec.text)


def chain() -> tuple[Step, Step]:
    first = Step("first", 1, Text("a"))
    return first, Step("second", 1, Text("b"), {"source": first})


def test_built_once_then_reused(runtime: Runtime) -> None:
    store, (first, second) = Store(runtime.store_path), chain()

    assert [store.realize(step, write, runtime) for step in (first, second, first, second)] == [True, True, False, False]
    assert (store.payload(second) / "out.txt").read_text() == "ba"
    assert store.record(second).inputs["source"].digest == store.record(first).digest


def test_version_spec_name_and_inputs_are_identity_and_the_label_is_not() -> None:
    first, second = chain()
    variants = [
        Step("second", 2, Text("b"), {"source": first}),
        Step("second", 1, Text("c"), {"source": first}),
        Step("other", 1, Text("b"), {"source": first}),
        Step("second", 1, Text("b"), {"source": Step("first", 2, Text("a"))}),
        Step("second", 1, Text("b"), {"role": first}),
        Step("second", 1, Text("b")),
    ]

    assert len({second.fingerprint, *(step.fingerprint for step in variants)}) == len(variants) + 1
    assert Step("second", 1, Text("b"), {"source": first}, label="shown").fingerprint == second.fingerprint


def test_a_body_that_fails_leaves_nothing_that_looks_finished(runtime: Runtime) -> None:
    store, step = Store(runtime.store_path), Step("first", 1, Text("a"))

    def fail(spec: Text, work: Work) -> None:
        (work.out / "half.txt").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        store.realize(step, fail, runtime)

    assert not store.done(step)
    assert list(store.folder(step).parent.iterdir()) == []
    assert store.realize(step, write, runtime)


def test_a_body_that_writes_nothing_is_an_error(runtime: Runtime) -> None:
    with pytest.raises(EmptyPayloadError):
        Store(runtime.store_path).realize(Step("first", 1, Text("a")), lambda spec, work: None, runtime)


@pytest.mark.parametrize("damage", ["edit", "remove", "add"])
def test_bytes_that_do_not_match_are_never_read(runtime: Runtime, damage: str) -> None:
    store, (first, second) = Store(runtime.store_path), chain()
    store.realize(first, write, runtime)
    file = store.payload(first) / "out.txt"
    {"edit": lambda: file.write_text("x"), "remove": file.unlink, "add": lambda: (file.parent / "new").write_text("")}[damage]()

    with pytest.raises(RecordError, match="move .* away to build the step again"):
        store.realize(second, write, runtime)

    assert not store.done(second)


@pytest.mark.parametrize("content", ["", "{", '{"step": "first"}'])
def test_a_torn_record_names_its_file_and_the_remedy(runtime: Runtime, content: str) -> None:
    store, (first, second) = Store(runtime.store_path), chain()
    store.realize(first, write, runtime)
    (store.folder(first) / "record.json").write_text(content)

    with pytest.raises(RecordError, match=r"(?s)record\.json: corrupt record .* move"):
        store.realize(second, write, runtime)


def test_an_edited_digest_does_not_pass(runtime: Runtime) -> None:
    store, (first, _) = Store(runtime.store_path), chain()
    store.realize(first, write, runtime)
    path = store.folder(first) / "record.json"
    digest = store.record(first).digest
    path.write_text(path.read_text().replace(digest, digest[::-1]))

    with pytest.raises(RecordError, match="its digest is not that of its files"):
        store.record(first)


def test_a_consumer_of_rebuilt_bytes_is_stale(runtime: Runtime) -> None:
    store, (first, second) = Store(runtime.store_path), chain()
    store.realize(first, write, runtime)
    store.realize(second, write, runtime)
    assert store.fresh(second)
    store.folder(first).rename(runtime.store_path / "away")

    def differently(spec: Text, work: Work) -> None:
        (work.out / "out.txt").write_text("another a")

    store.realize(first, differently, runtime)
    with pytest.raises(StaleError, match="was built from first/"):
        store.fresh(second)


def _realize(root: str, runtime: Runtime, results: "multiprocessing.Queue[str]") -> None:
    def slow(spec: Text, work: Work) -> None:
        time.sleep(0.3)
        write(spec, work)

    try:
        results.put(str(Store(Path(root)).realize(Step("first", 1, Text("a")), slow, runtime)))
    except BusyError:
        results.put("busy")


def test_two_processes_do_not_build_the_same_step_at_once(runtime: Runtime) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[str] = context.Queue()
    processes = [context.Process(target=_realize, args=(runtime.store, runtime, results)) for _ in range(4)]
    for process in processes:
        process.start()
    outcomes = sorted(results.get(timeout=20) for _ in processes)
    for process in processes:
        process.join()

    assert outcomes.count("True") == 1
    assert outcomes.count("busy") >= 1


def test_kill_9_inside_a_body_leaves_nothing_finished_and_no_lock(runtime: Runtime) -> None:
    program = f"""
import pathlib, sys, time
from harness.runtime import Runtime
from harness.step import Step
from harness.store import Store
from tests.harness.test_store import Text
def body(spec, work):
    (work.out / "half").write_text("half"); print("inside", flush=True); time.sleep(60)
Store(pathlib.Path({runtime.store!r})).realize(Step("first", 1, Text("a")), body, {runtime!r})
"""
    repository = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        cwd=repository,
        env=os.environ | {"PYTHONPATH": str(repository)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"inside\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    store, step = Store(runtime.store_path), Step("first", 1, Text("a"))

    assert not store.done(step)
    assert store.realize(step, write, runtime)
    assert [path.name for path in store.payload(step).iterdir()] == ["out.txt"]
