"""What a table says in words: the answer above it, and the footnotes below.

The answer is one sentence over the declared family. Footnotes tell what the numbers are, what the intervals assume, what is
missing, what ran elsewhere.
"""

from __future__ import annotations

from reports.effects import Findings, Untestable
from reports.frame import Frame, Run, described
from reports.statistics import ALPHA, Estimate

QUICK = "quick benchmark, no substitute for MTEB"
MINUS = "\N{MINUS SIGN}"


def number(value: float, *, sign: bool = False) -> str:
    """One decimal, with a true minus; `+` in front of differences."""
    text = f"{value:+.1f}" if sign else f"{value:.1f}"
    if float(text) == 0:
        text = "0.0"
    return text.replace("-", MINUS)


def verdict(frame: Frame, findings: Findings) -> str:
    """One sentence over the declared family; says so where nothing can be said."""
    sweep = frame.sweep
    family = {arm: findings.estimates.get((arm, sweep.primary)) for arm in frame.arm_names if arm in sweep.family}
    tested = {arm: found for arm, found in family.items() if isinstance(found, Estimate)}
    reasons = {
        found.why if isinstance(found, Untestable) else "no such column" for arm, found in family.items() if arm not in tested
    }
    if not tested:
        return f"Nothing can be said yet on {sweep.primary}: {'; '.join(sorted(reasons)) or 'no arm but the baseline'}."
    differ = {arm: found for arm, found in tested.items() if findings.adjusted[arm] < ALPHA}
    named = ", ".join(f"{arm} ({number(found.delta, sign=True)} ±{number(found.half)})" for arm, found in differ.items())
    least = max(found.detectable for found in tested.values())
    missed = f"differences under {number(least)} points would mostly be missed"
    untested = f" {len(family) - len(tested)} could not be tested ({'; '.join(sorted(reasons))})." if reasons else ""
    where = f"{sweep.baseline} on {sweep.primary} after correction"
    if not differ:
        none = "The one arm is not" if len(tested) == 1 else f"None of {len(tested)} arms is"
        return f"{none} shown to differ from {where}; {missed}.{untested}"
    verb = "differs" if len(differ) == 1 else "differ"
    said = f"Of {len(tested)} arms {len(differ)} {verb} from {where}: {named}"
    return (
        f"{said}; the others are not shown to differ, and {missed}.{untested}"
        if len(differ) < len(tested)
        else f"{said}.{untested}"
    )


def about(frame: Frame) -> list[str]:
    """What the numbers are: sweep, seeds, baseline, benchmark."""
    sweep = frame.sweep
    seeds = sorted({run.seed for run in frame.runs if run.seed is not None})
    over = f"mean over seeds {', '.join(map(str, seeds))} with its range" if seeds else "as published"
    paired = "seed and item" if seeds else "task"
    notes = [
        f"{sweep.name}@{sweep.id[:8]}: points (0 to 100), {over}.",
        f"Δ is the difference to {sweep.baseline}, paired by {paired}. Numbers in the header count data sets.",
    ]
    if any("quick" in task.lower() for task in frame.suite):
        notes.append(f"Scores are on the {QUICK}.")
    return notes


def statistics(frame: Frame, findings: Findings) -> list[str]:
    """What the intervals are: level, assumptions, the family, and what the design could have found."""
    sweep = frame.sweep
    found = [e for e in findings.estimates.values() if isinstance(e, Estimate)]
    notes = []
    if found and all(e.about == "this checkpoint" for e in found):
        notes.append("± is a 95 % interval over items for this checkpoint; it says nothing about other seeds.")
    elif found and all(e.about == "tasks" for e in found):
        notes.append(
            "± is a 95 % interval over tasks, all that scores without items allow: whether a type of task differs, not whether "
            "one data set does."
        )
    elif found:
        notes.append(
            f"± is a nominal 95 % interval over seeds and items, on this benchmark; its simulated level is at least "
            f"{100 * findings.level():.1f} %. Seed noise is taken as equal in all arms unless one is plainly noisier."
        )
    if any(p < ALPHA for p in findings.adjusted.values()):
        family = ", ".join(arm for arm in frame.arm_names if arm in findings.adjusted)
        notes.append(
            f"* differs from {sweep.baseline} on the primary ({sweep.primary}) after Holm's correction over the family "
            f"({family}); every other comparison is exploratory and carries no star."
        )
    primary = [e.detectable for (_, key), e in findings.estimates.items() if key == sweep.primary and isinstance(e, Estimate)]
    if primary:
        span = " to ".join(dict.fromkeys((f"{min(primary):.1f}", f"{max(primary):.1f}")))
        notes.append(f"With 80 % probability this design finds a true difference of {span} points on the primary, uncorrected.")
    if findings.best:
        notes.append("Bold: not distinguishable from the best arm of the column (Holm).")
    untested = {f.why for f in findings.estimates.values() if isinstance(f, Untestable) and f.why != "incomplete"}
    notes += [f"n.t. (not testable): {why}" for why in _untested(untested)]
    if sweep.conditional:
        notes.append(f"Intervals are conditional on: {sweep.conditional}")
    return notes


def _untested(reasons: set[str]) -> list[str]:
    """Reasons that differ only in the column or task they begin with, said once."""
    named: dict[str, list[str]] = {}
    for reason in sorted(reasons):
        name, separator, why = reason.partition(": ")
        named.setdefault(why if separator else reason, []).append(name if separator else "")
    return [f"{', '.join(names)}: {why}" if names != [""] else why for why, names in named.items()]


def _incomplete(frame: Frame) -> list[str]:
    """What is missing of which runs; runs that lack the same for the same reason are named together."""
    lacking: dict[str, list[str]] = {}
    for run in frame.runs:
        if run.missing:
            seed = "" if run.seed is None else f" seed {run.seed}"
            lacking.setdefault(_lacking(run), []).append(f"{run.arm}{seed}")
    return [f"incomplete: {', '.join(runs)} {'lacks' if len(runs) == 1 else 'lack'} {what}" for what, runs in lacking.items()]


def _lacking(run: Run) -> str:
    """A run's missing tasks by reason, each reason once: one broken step can cost an arm every task."""
    tasks: dict[str, list[str]] = {}
    for task, why in run.missing.items():
        tasks.setdefault(why.rpartition(" failed: ")[2], []).append(task)
    if not run.tasks and len(tasks) == 1:
        return f"all {len(run.missing)} tasks ({next(iter(tasks))})"
    said = "; ".join(f"{', '.join(names)}: {why}" for why, names in tasks.items())
    return f"{len(run.missing)} of {len(run.missing) + len(run.tasks)} tasks ({said})"


def _chosen(names: tuple[str, ...], reported: set[str]) -> str:
    """By which tasks anything was selected; those that are reported too were fitted, however lightly (trap 37)."""
    both = [name for name in names if name in reported]
    said = f"; {', '.join(both)} is reported too, so that score is optimistic" if both else ", none of which is reported here"
    return f"chosen on: {', '.join(names)}{said}"


def reasons(frame: Frame, marked: dict[str, str]) -> list[str]:
    """Other hardware, missing tasks, assumed values, what each arm is."""
    sweep = frame.sweep
    notes = [f"‡ {arm} ran on other: {difference}" for arm, difference in marked.items()]
    notes += _incomplete(frame)
    if sweep.chosen_on:
        notes.append(_chosen(sweep.chosen_on, {task for run in frame.runs for task in run.tasks}))
    notes += [f"assumed: {note}" if not note.startswith("assumed") else note for note in sweep.notes]
    arms = described(frame)
    notes += [
        f"{name}: {arms[name].description or ' '.join(arms[name].overrides)}"
        for name in frame.arm_names
        if name in arms and (arms[name].description or arms[name].overrides)
    ]
    return notes
