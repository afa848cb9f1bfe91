"""Every renderer: intervals and stars are there, hostile text is inert, LaTeX compiles, the page runs without a network."""

from __future__ import annotations

import csv
import html.parser
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports import html as page_format
from reports import inert, latex, render
from reports.effects import Evidence, find
from reports.frame import Frame
from reports.load import load
from reports.means import type_columns
from reports.tables import Table, sweep_tables
from reports.verdict import verdict

HOSTILE = (
    "<script>alert(1)</script>", "\\input{/etc/passwd}", "\x1b[31mred\x1b]8;;http://evil\x07", "[click](javascript:alert(1))",
    "![x](http://evil/x.png)", "=HYPERLINK(1)", "a|b", "$x^2$ & 50% #1 _under_ ~t~ {b}", "@everyone", "https://evil.example",
    "</table>", "\u202egnp.exe", "\n# heading", "- item", "`code`",
)  # fmt: skip


def tables_of(store: Path) -> tuple[Frame, list[Table]]:
    (frame,) = load(store, ["quick"], with_baseline=True)
    return frame, sweep_tables(frame, Evidence(frame))


def test_the_worse_arm_is_starred_and_the_others_are_not(rich) -> None:
    rich.write()
    _, (table,) = tables_of(rich.store)

    average = table.columns.index("Avg (4)")
    marks = {row.label: row.effects[average].mark for row in table.rows if row.effects}
    assert marks == {"rank_4": "", "rank_64": "", "mean_pooling": "", "english": "", "no_instruction": "*"}
    assert all(effect.half is not None for row in table.rows for effect in row.effects)
    assert all(not effect.mark for row in table.rows for effect in row.effects[:average]), "only the primary carries stars"
    best = {row.label for row in table.rows if row.cells[average].best}
    assert "no_instruction" not in best
    assert len(best) >= 4


def test_one_seed_is_about_this_checkpoint(rich, reports) -> None:
    rich.write()
    code, out, _ = reports("table", "quick:no_instruction:1", "--format", "md")

    assert code == 0
    assert "for this checkpoint; it says nothing about other seeds" in out


def test_the_verdict_is_one_sentence(rich) -> None:
    rich.write()
    (frame,) = load(rich.store, ["quick"], with_baseline=True)
    text = verdict(frame, find(Evidence(frame), type_columns(frame)))

    assert text.startswith("Of 5 arms 1 differs from base on mean after correction: no_instruction (")
    assert text.count(".") - len(re.findall(r"\d\.\d", text)) == 1


def test_edited_items_are_refused(rich, reports) -> None:
    rich.write()
    path = next(rich.store.glob("evaluate/*/payload/items.parquet"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    code, _, err = reports("table", "quick")

    assert code == 4
    assert str(path) in err


def test_items_that_do_not_pair_are_not_tested(rich) -> None:
    scores, items = rich.scores["rank_4", 0, "QuickRetrieval"], rich.items["rank_4", 0, "QuickRetrieval"]
    rich.put("rank_4", 0, scores, items[::-1])
    rich.write()
    frame, (table,) = tables_of(rich.store)

    retrieval = table.columns.index("Retr. (1)")
    effects = {row.label: row.effects[retrieval] for row in table.rows if row.effects}
    assert "different items" in effects["rank_4"].untested
    assert effects["rank_64"].half is not None
    assert frame.sweep.baseline == "base"


def hostile(builder, text: str) -> tuple[Frame, list[Table]]:
    builder.description = text
    renamed = {(text if arm == "mean" else arm, seed, task): value for (arm, seed, task), value in builder.scores.items()}
    builder.scores = renamed
    builder.items = {key: [] for key in renamed}
    builder.write()
    return tables_of(builder.store)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert_everywhere(small, text: str) -> None:
    frame, tables = hostile(small, text)
    assert text in frame.arm_names, "premise: the text reached the tables"

    terminal = render.terminal_text(tables)
    assert "\x1b" not in terminal
    assert "\u202e" not in terminal
    page = page_format.page(frame, tables, find(Evidence(frame), type_columns(frame)), text)
    assert elements(page) <= ALLOWED
    assert page.count("<script>") == 1
    assert "javascript:" not in attributes(page)
    for row in csv.reader(io.StringIO(render.as_csv(tables))):
        assert not any(cell.startswith(("=", "@")) for cell in row)
    written = render.markdown(tables[0])
    assert not re.search(r"(?<!\\)\]\(|<script|(?<![\w&])@everyone|://", written)
    assert all(line.startswith(("|", "**", "- ", "What")) for line in written.splitlines() if line), "no line of its own"


ALLOWED = {
    "html", "head", "meta", "link", "title", "style", "body", "main", "h1", "h2", "p", "div", "table", "caption", "thead",
    "tbody",     "tr", "th", "td", "button", "b", "ul", "li", "svg", "line", "text", "circle", "script",
}  # fmt: skip


class Elements(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.values: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.values += [f"{name}={value}" for name, value in attrs]


def elements(page: str) -> set[str]:
    parser = Elements()
    parser.feed(page)
    return parser.tags


def attributes(page: str) -> str:
    parser = Elements()
    parser.feed(page)
    return " ".join(value for value in parser.values if value.startswith(("href", "src", "on")))


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_stays_text(text: str) -> None:
    """Terminal: nothing below a space; HTML: no bare markup; LaTeX: braces balance and commands are ours only."""
    assert all(character >= " " for character in inert.visible(text))
    assert not re.search(r"[<>\"]", inert.html(text))
    written = inert.latex(text)
    names = "backslash|asciicircum|asciitilde|less|greater|bar|quotedbl|quotesingle|asciigrave"
    ours = rf"\\(text({names})|Delta|pm|times|dots|dag|ddag)\b"
    bare = re.sub(r"\\[{}$&#_%]", "", re.sub(ours, "", written))
    assert "\\" not in bare
    assert bare.count("{") == bare.count("}")


@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="pdflatex is not installed (apt-get install texlive-latex-recommended lmodern)"
)
def test_latex_compiles_with_hostile_text(small, tmp_path: Path) -> None:
    _, tables = hostile(small, " ".join(HOSTILE) + " żółć 漢字 🙂")
    (tmp_path / "t.tex").write_text(latex.document(tables), encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-no-shell-escape", "-halt-on-error", "-interaction=nonstopmode", "t.tex"],
        check=False, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "t.pdf").stat().st_size > 5000


def test_markdown_keeps_plain_text_plain() -> None:
    assert inert.markdown("lora_4 (+1.2, 8 tasks): fine") == r"lora\_4 (+1.2, 8 tasks): fine"


def test_zero_has_no_sign() -> None:
    assert (render.number(-0.04, sign=True), render.number(-1.25), render.number(2, sign=True)) == (
        "0.0",
        "\N{MINUS SIGN}1.2",
        "+2.0",
    )


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed (apt-get install chromium)")
def test_the_page_runs_without_network_and_console_errors(small, tmp_path: Path) -> None:
    """Headless Chromium with every host name unresolvable: the table is drawn, and nothing is logged to the console."""
    frame, tables = hostile(small, "<img src=http://evil.example/x.png onerror=alert(1)>")
    path = tmp_path / "page.html"
    path.write_text(page_format.page(frame, tables, find(Evidence(frame), type_columns(frame)), "v"), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND"]
    done = subprocess.run(
        ["chromium", *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert done.returncode == 0
    assert "Retr. (2)" in done.stdout
    assert not [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
