"""`reports html`: one self-contained page with question, verdict, sortable tables, a forest plot and provenance.

No network, no CDN, no library: style, script and plot are in the file, and its content policy allows that one script by its
hash and nothing else, so that text that slipped through could still not run. Every text passes through `inert.html`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path

from reports import inert
from reports.effects import Findings
from reports.forest import forest
from reports.frame import Frame
from reports.render import lines_of
from reports.tables import Table

TEMPLATES = Path(__file__).with_name("templates")


def fragment(tables: Iterable[Table]) -> str:
    """Tables with their questions and footnotes, without a page around them."""
    return "\n".join(_table(table) for table in tables)


def page(frame: Frame, tables: Iterable[Table], findings: Findings, verdict: str) -> str:
    """The whole page of one sweep."""
    style, script = (TEMPLATES / "page.css").read_text("utf-8"), (TEMPLATES / "sort.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    policy = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    sweep = frame.sweep
    body = [
        f"<h1>{inert.html(sweep.question)}</h1>",
        f'<p class="verdict">{inert.html(verdict)}</p>',
        fragment(tables),
        f"<h2>Differences to {inert.html(sweep.baseline)} on {inert.html(sweep.primary)}</h2>",
        forest(frame, findings),
        "<h2>Provenance</h2>",
        provenance(frame),
    ]
    head = [
        '<meta charset="utf-8">', f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">', '<link rel="icon" href="data:,">',
        f"<title>{inert.html(sweep.name)}</title>", f"<style>{style}</style>",
    ]  # fmt: skip
    lines = ["<!doctype html>", '<html lang="en">', "<head>", *head, "</head>", "<body>", "<main>", *body, "</main>"]
    return "\n".join([*lines, f"<script>{script}</script>", "</body>", "</html>"]) + "\n"


def _table(table: Table) -> str:
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{inert.html(c)}</button></th>' for c in ("", *table.columns)
    )
    groups = []
    for row in table.rows:
        lines = []
        for index, (label, texts) in enumerate(lines_of(row)):
            cells = []
            for position, text in enumerate(texts):
                value = row.cells[position].value
                key = f' data-value="{value:.6f}"' if index == 0 and value is not None else ""
                shown = inert.html(text)
                cells.append(f"<td{key}>{f'<b>{shown}</b>' if index == 0 and row.cells[position].best else shown}</td>")
            name = "value" if index == 0 else "range" if label.strip().startswith("range") else "delta"
            lines.append(f'<tr class="{name}"><th scope="row">{inert.html(label.strip())}</th>{"".join(cells)}</tr>')
        groups.append(f'<tbody class="{row.kind}">{"".join(lines)}</tbody>')
    notes = "".join(f"<li>{inert.html(note)}</li>" for note in table.footnotes)
    caption = f"<caption>{inert.html(table.title)}</caption>"
    grid = f'<div class="wide"><table>{caption}<thead><tr>{heads}</tr></thead>{"".join(groups)}</table></div>'
    return grid + (f'<ul class="notes">{notes}</ul>' if notes else "")


def provenance(frame: Frame) -> str:
    """Sweep, arms with their overrides, what ran where, and how long it took."""
    sweep = frame.sweep
    settings = sorted({setting for run in frame.runs for setting in run.settings})
    seconds = sum({(run.arm, run.seed, label): value for run in frame.runs for label, value in run.seconds.items()}.values())
    rows = [("sweep", f"{sweep.name}@{sweep.id}"), ("primary", sweep.primary)]
    rows += [("hardware, torch, transformers", ", ".join(setting)) for setting in settings]
    if sweep.runs:
        rows += [("seeds", ", ".join(map(str, sweep.seeds)))]
        rows += [("seconds of all steps, shared ones counted for each run", f"{seconds:.0f}")]
        rows += [(f"arm {arm.name}", " ".join(arm.overrides) or "the baseline's own configuration") for arm in sweep.arms]
    cells = "".join(f'<tr><th scope="row">{inert.html(name)}</th><td>{inert.html(value)}</td></tr>' for name, value in rows)
    return f'<table class="provenance"><tbody>{cells}</tbody></table>'
