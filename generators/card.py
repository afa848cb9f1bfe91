"""The data card of a generated corpus, its figure beside the paper's, and its export as a datasets folder.

Markdown and SVG are written by hand: deterministic, without a plotting library, and no text of the corpus gets in.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from generators.detect import CODES
from generators.filters import ACCEPTED
from generators.languages import FIGURE2, NAMED
from generators.statistics import Statistics, measure, median_words, shares_of_figure2

FIGURE = "figure2.svg"


def write_card(payload: Path, out: Path, cost: float | None = None) -> Statistics:
    """Write `README.md` and the figure of a synthesize payload into `out`; `cost` is what its answers cost, if known."""
    found = measure(payload)
    out.mkdir(parents=True, exist_ok=True)
    (out / FIGURE).write_text(figure(found), encoding="utf-8")
    (out / "README.md").write_text(card(found, cost), encoding="utf-8")
    return found


def export(payload: Path, out: Path, cost: float | None = None) -> None:
    """A folder that `datasets.load_dataset` reads: `data/train.parquet` and a card that says so."""
    write_card(payload, out, cost)
    (out / "data").mkdir(exist_ok=True)
    shutil.copyfile(payload / "pairs.parquet", out / "data" / "train.parquet")
    header = "---\nconfigs:\n- config_name: default\n  data_files: data/train.parquet\n---\n"
    body = (out / "README.md").read_text(encoding="utf-8")
    (out / "README.md").write_text(header + body, encoding="utf-8")


def card(found: Statistics, cost: float | None) -> str:
    """The Markdown text."""
    total = found.verdicts.total()
    lines = [
        "# Generated pairs", "",
        (f"{found.accepted:,} pairs out of {total:,} answers ({_percent(found.accepted, total)} %), "
        f"{len(found.instructions):,} distinct instructions, {len(found.languages)} query languages; "
        f"{100 * found.distinct_bigrams:.1f} % of the word pairs in queries are distinct."),
    ]  # fmt: skip
    if cost is not None:
        lines.append(f"Cost of one accepted pair: {cost / max(1, found.accepted):.6f}.")
    lines += ["", f"![Shares beside the paper's Figure 2]({FIGURE})", "", "## Answers by verdict", ""]
    lines += _table(("verdict", "answers", "%"), ((v, f"{n:,}", _percent(n, total)) for v, n in found.verdicts.most_common()))
    lines += ["", "## By task type and template", ""]
    lines += _table(
        ("", "asked", "accepted", "%", "median words of a pair"),
        (_group(name, n, found.words.get(name, [])) for name, n in [*found.by_type.items(), *found.by_template.items()]),
    )
    lines += ["", "## Achieved against asked", "", "`kept`: texts whose length is as asked (`about n`: 80 to 120 %).", ""]
    lines += _table(
        ("task type", "placeholder", "value", "asked", "accepted %", "median words", "kept %"),
        (
            (kind, name, value, f"{a.requests:,}", _percent(a.accepted, a.requests), *_lengths(a.words, a.within))
            for (kind, name, value), a in sorted(found.asked.items(), key=lambda item: _natural(item[0]))
        ),
    )
    lines += ["", "## Languages, asked and detected", ""]
    lines += _table(
        ("asked", "texts judged", "detected as asked %", "most often taken for"), map(_row, sorted(found.confusion.items()))
    )
    return "\n".join(lines) + "\n"


def _natural(key: tuple[str, str, str]) -> tuple[str, str, float, str]:
    """Grades and lengths in the order of their numbers."""
    kind, name, value = key
    number = re.match(r"\d+(\.\d+)?", value)
    return kind, name, float(number.group()) if number else 0.0, value


def _row(item: tuple[str, Counter[str]]) -> tuple[str, str, str, str]:
    language, codes = item
    others = [f"{code} {n}" for code, n in codes.most_common(4) if code != CODES[language]]
    return language, str(codes.total()), _percent(codes[CODES[language]], codes.total()), ", ".join(others[:3])


def _group(name: str, n: Counter[str], words: list[int]) -> tuple[str, ...]:
    shown = f"{median_words(words):.0f}" if words else ""
    return name, f"{n.total():,}", f"{n[ACCEPTED]:,}", _percent(n[ACCEPTED], n.total()), shown


def _lengths(words: Sequence[float], within: int) -> tuple[str, str]:
    return (f"{median_words(words):.0f}", _percent(within, len(words))) if words else ("", "")


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}" if whole else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]


WIDTH, BAR, GAP, LABEL = 760, 13, 8, 130
OURS, PAPER = "#1f6f8b", "#c9b79c"


def figure(found: Statistics) -> str:
    """The paper's Figure 2 (shares by task type, by language) beside the corpus's own, as SVG."""
    whole = max(1, found.languages.total())
    named = sum(found.languages[name] for name in NAMED)
    languages = [(name, 100 * found.languages[name] / whole, share) for name, share in NAMED.items()]
    languages.append(("others", 100 * (whole - named) / whole, sum(FIGURE2.values()) - sum(NAMED.values())))
    kinds, top = _bars("Task types, % of pairs", shares_of_figure2(found), 40)
    tongues, bottom = _bars("Languages of the query, % of pairs", languages, top + 34)
    legend = "".join(
        f'<rect x="{x}" y="8" width="12" height="12" fill="{color}"/><text x="{x + 18}" y="18">{text}</text>'
        for x, color, text in ((LABEL, OURS, "this corpus"), (LABEL + 120, PAPER, "the paper, Figure 2"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{bottom + 10}" '
        f'font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{legend}{kinds}{tongues}</svg>\n'
    )


def _bars(title: str, rows: Sequence[tuple[str, float, float]], top: int) -> tuple[str, int]:
    """Two bars a row; returns the markup and where it ends."""
    scale = (WIDTH - LABEL - 70) / max(1.0, *(max(ours, paper) for _, ours, paper in rows))
    parts = [f'<text x="{LABEL}" y="{top + 4}" font-weight="bold">{escape(title)}</text>']
    y = top + 14
    for name, ours, paper in rows:
        parts.append(f'<text x="{LABEL - 8}" y="{y + BAR + 2}" text-anchor="end">{escape(name)}</text>')
        for value, color, offset in ((ours, OURS, 0), (paper, PAPER, BAR)):
            width = value * scale
            parts.append(
                f'<rect x="{LABEL}" y="{y + offset}" width="{width:.1f}" height="{BAR - 1}" fill="{color}"/>'
                f'<text x="{LABEL + width + 5:.1f}" y="{y + offset + 10}" font-size="10">{value:.1f}</text>'
            )
        y += 2 * BAR + GAP
    return "".join(parts), y
