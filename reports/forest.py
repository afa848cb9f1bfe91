"""A forest plot as SVG: every arm's difference on the primary with its interval, and the number beside it.

Drawn by hand: a self-contained page needs no plotting library, and the page's content policy allows none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from reports import inert
from reports.effects import Findings, Untestable
from reports.frame import Frame
from reports.notes import number
from reports.statistics import ALPHA, Estimate

ROW, LEFT, WIDTH, RIGHT = 26, 200, 540, 130
MOST_TICKS = 8
KEY = "Differences with 95 % intervals; filled: differs after Holm's correction"


def forest(frame: Frame, findings: Findings) -> str:
    """The plot with its key; an arm without an interval has its reason instead."""
    primary, baseline = frame.sweep.primary, frame.sweep.baseline
    found = {arm: findings.estimates[arm, primary] for arm in frame.arm_names if (arm, primary) in findings.estimates}
    if not found:
        return f'<p class="key">No arm to compare with {inert.html(baseline)} on {inert.html(primary)}.</p>'
    ticks = ticks_of(found)
    low, high = ticks[0], ticks[-1]
    height = ROW * len(found) + 8

    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * WIDTH

    parts = []
    for tick in ticks:
        kind = "zero" if tick == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="0" y2="{height}"/>')
        parts.append(f'<text class="tick" x="{x(tick):.1f}" y="{height + 16}">{_tick(tick, ticks[1] - ticks[0])}</text>')
    for index, (arm, estimate) in enumerate(found.items()):
        y = ROW * (index + 1) - 8
        parts.append(f'<text x="0" y="{y + 4}">{inert.html(_short(arm))}<title>{inert.html(arm)}</title></text>')
        if isinstance(estimate, Untestable):
            parts.append(f'<text class="why" x="{LEFT}" y="{y + 4}">{inert.html(estimate.why)}</text>')
            continue
        ends = x(estimate.delta - estimate.half), x(estimate.delta + estimate.half)
        kind = "differs" if findings.adjusted.get(arm, 1.0) < ALPHA else "open"
        text = f"{number(estimate.delta, sign=True)} ±{number(estimate.half)}"
        parts.append(f'<line class="bar" x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="{kind}" cx="{x(estimate.delta):.1f}" cy="{y}" r="5"/>')
        parts.append(f'<text class="number" x="{LEFT + WIDTH + RIGHT}" y="{y + 4}">{text}</text>')
    view = f'viewBox="0 0 {LEFT + WIDTH + RIGHT} {height + 24}"'
    label = inert.html(f"{KEY}. Baseline: {baseline}")
    return f'<svg {view} role="img" aria-label="{label}">{"".join(parts)}</svg><p class="key">{inert.html(KEY)}.</p>'


def ticks_of(found: Mapping[str, Estimate | Untestable]) -> list[float]:
    """Round values from below the lowest end of an interval to above the highest, zero among them; at least two."""
    shown = [one for one in found.values() if isinstance(one, Estimate)]
    low = min((one.delta - one.half for one in shown), default=-1.0)
    high = max((one.delta + one.half for one in shown), default=1.0)
    low, high = min(low, 0.0), max(high, 0.0)
    rough = max(high - low, 1e-9) / (MOST_TICKS - 2)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [step * i for i in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _tick(value: float, step: float) -> str:
    """A tick with as many decimals as its step needs."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    text = f"{value:+.{decimals}f}" if value else "0"
    return text.replace("-", "\N{MINUS SIGN}")


def _short(text: str) -> str:
    return text if len(text) <= 28 else text[:27] + "…"
