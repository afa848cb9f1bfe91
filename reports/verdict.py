"""A sweep's answer in one sentence: which arms differ from the baseline on the primary score, and what was not shown."""

from __future__ import annotations

from reports.effects import Findings, Untestable
from reports.frame import Frame
from reports.render import number
from reports.statistics import ALPHA, Estimate


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
