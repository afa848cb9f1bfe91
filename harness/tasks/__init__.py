"""Which tasks a suite means, planned without mteb: every task becomes a `TaskSpec` that holds all that decides its score.

Three kinds of suite: `quick` ships with us, `passkey` is made here, `mteb` names tasks or a benchmark of mteb, on data from the
hub or from folders in the hub's layout (`runtime.data/<org>/<name>`). A benchmark is its tasks, splits *and* subsets: averages
over others are other numbers (`reference` results cannot be compared with them).

Not here: running a task (`harness.evaluate`) and the sentences (`prompts.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

from harness import catalogue
from harness.config import ConfigError, Problem, nearest
from harness.identity import combine_digests, file_digest
from harness.instructions import TABLE
from harness.items import supported
from harness.kinds import BY_KIND
from harness.tasks import manifest, passkey, quick
from harness.tasks.passkey import Passkey
from harness.tasks.prompts import Prompts, instruction, own_instruction

HUB, MADE = "hub", "made"


@dataclass(frozen=True)
class Quick:
    """The benchmark that ships with us: one small task of every type."""

    kind: Literal["quick"]
    tasks: tuple[str, ...]
    """Which of its tasks."""
    instructions: Prompts
    mteb: str
    """The mteb version that scores."""


@dataclass(frozen=True)
class Mteb:
    """Tasks of mteb, by name or as a benchmark."""

    kind: Literal["mteb"]
    benchmark: str | None
    """A benchmark by mteb's name, `MTEB(eng, v2)`; None: the tasks named below."""
    tasks: tuple[str, ...]
    """Tasks by name; with a benchmark, a selection of its tasks (empty: all)."""
    types: tuple[str, ...]
    """Only tasks of these types; empty: all."""
    languages: tuple[str, ...]
    """Only subsets that have one of these languages (`eng` or `eng-Latn`); empty: all."""
    subsets: dict[str, tuple[str, ...]]
    """Subsets by task name, where the above is not fine enough: `{Tatoeba: [deu-eng]}`."""
    splits: dict[str, tuple[str, ...]]
    """Splits by task name, other than those mteb evaluates."""
    data: Literal["local", "hub"]
    """`local`: folders in `runtime.data`, network off, identity by digest; `hub`: pinned revisions."""
    instructions: Prompts
    mteb: str
    """The mteb version that scores."""


Suite = Annotated[Quick | Passkey | Mteb, BY_KIND]


@dataclass(frozen=True)
class TaskSpec:
    """All that decides one task's score besides the encoder and the instruction format."""

    name: str
    task_type: str
    kind: Literal["quick", "passkey", "mteb"]
    dataset: str
    """`org/name` on the hub, or the name of our files."""
    revision: str
    """The hub revision mteb pins; for local data only what the folder claims to be: `data` is what it is."""
    data: str
    """SHA-256 of the data files, `hub`, or `made` where the revision says how."""
    splits: tuple[str, ...]
    subsets: tuple[str, ...]
    instruction: str
    """The task in words; on which texts it stands is the format's business."""
    mteb: str
    main: str
    """Main metric."""


def plan_tasks(suite: Suite, runtime_data: str | None) -> tuple[TaskSpec, ...]:
    """The tasks of a suite, in its order; raises ConfigError listing every problem. Imports neither mteb nor torch.

    Local data is hashed here, once a file and process, so that a score is tied to the bytes it came from.
    """
    problems = list(_version_problems(suite.mteb))
    specs: list[TaskSpec] = []
    for row in _specs(suite, runtime_data):
        (problems if isinstance(row, Problem) else specs).append(row)  # type: ignore[arg-type]
    if problems:
        raise ConfigError(problems)
    return tuple(specs)


def _specs(suite: Quick | Passkey | Mteb, runtime_data: str | None) -> Iterator[TaskSpec | Problem]:
    if isinstance(suite, Quick):
        return _quick_specs(suite)
    return _passkey_specs(suite) if isinstance(suite, Passkey) else _mteb_specs(suite, runtime_data)


def _version_problems(version: str) -> Iterator[Problem]:
    installed = _installed()
    if version != installed:
        remedy = "scores of different versions do not compare; install the one or write the other"
        yield Problem("eval.mteb", f"{version!r} is asked for, {installed!r} is installed: {remedy}")


@cache
def _installed() -> str:
    return metadata.version("mteb")


def _quick_specs(suite: Quick) -> Iterator[TaskSpec | Problem]:
    if not suite.tasks:
        yield Problem("eval.tasks", f"is empty; the quick suite has {', '.join(quick.TASKS)}")
    for name in suite.tasks:
        task = quick.TASKS.get(name)
        if task is None:
            yield Problem("eval.tasks", f"{name!r} is no quick task{nearest(name, quick.TASKS)}")
            continue
        yield TaskSpec(
            name=name, task_type=task.task_type, kind="quick", dataset="quick_benchmark", revision="shipped",
            data=combine_digests({file: _digest(quick.FOLDER / file) for file in task.files}), splits=("test",),
            subsets=tuple(task.languages), instruction=own_instruction(suite.instructions, name, task.instruction),
            mteb=suite.mteb, main=task.main,
        )  # fmt: skip


def _passkey_specs(suite: Passkey) -> Iterator[TaskSpec]:
    for name, revision in suite.tasks():
        yield TaskSpec(
            name=name, task_type=passkey.TASK_TYPE, kind="passkey", dataset="passkey", revision=revision, data=MADE,
            splits=("test",), subsets=("default",), mteb=suite.mteb, main=passkey.MAIN,
            instruction=own_instruction(suite.instructions, name, passkey.INSTRUCTION),
        )  # fmt: skip


def _mteb_specs(suite: Mteb, runtime_data: str | None) -> Iterator[TaskSpec | Problem]:
    if suite.data == "local" and runtime_data is None:
        yield Problem("runtime.data", "is not set; name the folder that holds <org>/<name>/... of every data set")
        return
    for choice in _selections(suite):
        if isinstance(choice, Problem):
            yield choice
            continue
        for part in catalogue.entry(choice.task).parts or (choice.task,):
            yield from _mteb_spec(suite, catalogue.entry(part), choice, runtime_data)


def _selections(suite: Mteb) -> Iterator[catalogue.Selection | Problem]:
    if suite.benchmark is None and not suite.tasks:
        yield Problem("eval.tasks", "is empty; name tasks of mteb, such as eval.tasks=[STSBenchmark,SciFact]")
        return
    try:
        members = {row.task: row for row in catalogue.benchmark(suite.benchmark)} if suite.benchmark else None
    except ConfigError as error:
        yield Problem("eval.benchmark", str(error.problems[0]))
        return
    for name in suite.tasks or members or ():
        known = catalogue.names() if members is None else tuple(members)
        if name not in known:
            where = "no text task of mteb" if members is None else f"no task of {suite.benchmark}"
            yield Problem("eval.tasks", f"{name!r} is {where}{nearest(name, known)}")
        elif members is not None:
            yield members[name]
        else:
            entry = catalogue.entry(name)
            yield catalogue.Selection(name, entry.splits, tuple(entry.subsets))


def _mteb_spec(
    suite: Mteb, entry: catalogue.Entry, choice: catalogue.Selection, runtime_data: str | None
) -> Iterator[TaskSpec | Problem]:
    if suite.types and entry.type not in suite.types:
        return
    if entry.type not in TABLE or not supported(entry.type, entry.main):
        yield Problem("eval.tasks", f"{entry.name!r} is {entry.type} by {entry.main}, for which no items can be kept")
        return
    subsets = _subsets(suite, entry, choice)
    unknown = [subset for subset in subsets if subset not in entry.subsets]
    if unknown:
        yield Problem(f"eval.subsets.{entry.name}", f"{unknown} not in mteb{nearest(unknown[0], entry.subsets)}")
        return
    if not subsets:
        yield Problem("eval.languages", f"{list(suite.languages)} leave no subset of {entry.name!r}")
        return
    data = HUB
    if suite.data == "local":
        folder = Path(str(runtime_data)) / entry.path
        if not folder.is_dir() or not any(folder.iterdir()):
            yield Problem("runtime.data", _missing(entry, folder))
            return
        contradictions = list(manifest.problems(Path(str(runtime_data)), entry.path, entry.revision))
        if contradictions:
            yield from (Problem("runtime.data", f"task {entry.name!r}: {message}") for message in contradictions)
            return
        data = _folder_digest(folder)
    yield TaskSpec(
        name=entry.name, task_type=entry.type, kind="mteb", dataset=entry.path, revision=entry.revision, data=data,
        splits=suite.splits.get(entry.name, choice.splits), subsets=subsets,
        instruction=instruction(suite.instructions, entry), mteb=suite.mteb, main=entry.main,
    )  # fmt: skip


def _missing(entry: catalogue.Entry, folder: Path) -> str:
    remedy = f"put the hub's data set {entry.path} at revision {entry.revision} there"
    return f"task {entry.name!r} has no data in {folder}: {remedy}"


def _subsets(suite: Mteb, entry: catalogue.Entry, choice: catalogue.Selection) -> tuple[str, ...]:
    if entry.name in suite.subsets:
        return suite.subsets[entry.name]
    chosen = choice.subsets if choice.task == entry.name else tuple(entry.subsets)
    if not suite.languages:
        return chosen
    wanted = set(suite.languages)
    return tuple(name for name in chosen if _has_language(entry.subsets[name], wanted))


def _has_language(languages: Iterable[str], wanted: set[str]) -> bool:
    return any(code in wanted or code.split("-")[0] in wanted for code in languages)


_digests: dict[tuple[str, int, int], str] = {}


def _digest(path: Path) -> str:
    """A file's digest, computed once for its (path, size, time of change) in a process."""
    stat = path.stat()
    key = (str(path), stat.st_size, stat.st_mtime_ns)
    if key not in _digests:
        _digests[key] = file_digest(path)
    return _digests[key]


def _folder_digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return combine_digests({path.relative_to(folder).as_posix(): _digest(path) for path in files})
