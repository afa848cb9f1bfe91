"""Hostile text in every renderer is inert: names of arms and tasks, item ids, texts of items, errors, policies.

Tables in five formats, comparison, gate in five forms, scores, W&B report: each is read back by a parser of its format.
"""

from __future__ import annotations

import csv
import html.parser
import io
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from harness.scores import Item
from reports import gate_output, inert, latex, render
from reports import html as page_format
from reports.effects import Evidence, find
from reports.frame import Frame
from reports.gate import Judged, Verdict
from reports.load import load
from reports.means import type_columns
from reports.tables import Table, sweep_tables
from reports.wandb_report import model_of

HOSTILE = (
    "<script>alert(1)</script>", "\\input{/etc/passwd}", "\x1b[31mred\x1b]8;;http://evil\x07", "[click](javascript:alert(1))",
    "![x](http://evil/x.png)", "=HYPERLINK(1)", "a|b", "$x^2$ & 50% #1 _under_ ~t~ {b}", "@everyone", "https://evil.example",
    "</table>", "\u202egnp.exe", "\n# heading", "- item", "`code`",
)  # fmt: skip


def tables_of(store: Path) -> tuple[Frame, list[Table]]:
    (frame,) = load(store, ["quick"], with_baseline=True)
    return frame, sweep_tables(frame, Evidence(frame))


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
    for table in tables:
        markdown_is_inert(render.markdown(table))


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


FORBIDDEN = ("\x1b", "\x07", "\u202e")


BLOCKS = ("paragraph", "table", "thead", "tbody", "tr", "th", "td", "bullet_list", "list_item", "strong", "heading")
PLAIN = {"inline", "text", "text_special", "softbreak", *(f"{block}_{end}" for block in BLOCKS for end in ("open", "close"))}


def kinds_of(text: str) -> list[str]:
    """What a Markdown parser makes of a text."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    return [token.type for token in tokens] + [child.type for token in tokens for child in token.children or ()]


def test_the_parser_would_find_what_is_hostile() -> None:
    """The premise: unescaped, these texts are HTML, an image, code and a heading."""
    found = {kind for text in HOSTILE for kind in kinds_of(text)}
    assert {"html_block", "image", "code_inline", "heading_open", "bullet_list_open"} <= found


def markdown_is_inert(text: str) -> None:
    """A Markdown parser finds text, tables, lists, bold and our one heading; no link, image, HTML, code, emphasis or rule."""
    kinds = kinds_of(text)
    assert set(kinds) <= PLAIN, set(kinds) - PLAIN
    assert kinds.count("heading_open") == text.startswith("### Gate: ")
    assert not re.search(r"(?<![\w&])@everyone|://", text), "what GitHub would make a mention or a link of"
    assert not any(character in text for character in FORBIDDEN)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_every_form_of_the_gate(text: str) -> None:
    """As a task's name and as a reason; JUnit by an XML parser, annotations by GitHub's rule of one command a line."""
    judged = (Judged(text, "regression", f"x {text}", -2.0, 0.1, 1.0), Judged("b", "inconclusive", text, None, None, 1.0))
    for verdict in (
        Verdict(1, f"x {text}", (f"x {text}",), judged, (f"x {text}",), None),
        Verdict(3, "x", (text,), (), (), None),
    ):
        terminal = gate_output.text(verdict)
        assert not any(character in terminal for character in FORBIDDEN)
        assert len(terminal.splitlines()) == 1 + len(verdict.judged) + len(verdict.notices) + (not verdict.judged)
        markdown_is_inert(gate_output.summary(verdict, text, text))
        suite = ET.fromstring(gate_output.junit(verdict)).find("testsuite")  # noqa: S314 - our own
        assert suite is not None
        assert [child.tag for case in suite for child in case] == (["failure", "error"] if verdict.judged else ["error"])
        assert json.loads(gate_output.as_json(verdict, text, text))["baseline"] == text
        annotations = gate_output.github(verdict).splitlines()
        assert all(re.match(r"::(error|notice) title=Gate", line) for line in annotations)
        assert len(annotations) == 1 + len(verdict.reasons) + len(verdict.notices)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_comparison_scores_and_report(rich, reports, text: str) -> None:
    """As the name of a task and of its items; what a comparison shows of them, a CSV reader and the W&B report's Markdown."""
    for arm, seed, task in list(rich.scores):
        scores, items = rich.scores.pop((arm, seed, task)), rich.items.pop((arm, seed, task))
        if task == "QuickRetrieval":
            renamed = [Item(one.split, one.subset, f"{text}{one.item}", one.repeat, one.field, one.value) for one in items]
            rich.put(arm, seed, replace(scores, task=f"x {text}"), renamed)
    rich.write()

    for form in ("md", "term"):
        code, out, err = reports("compare", "quick:base", "quick:no_instruction", "--format", form)
        assert (code, err) == (0, "")
        assert not any(character in out for character in FORBIDDEN)
        assert out.count("default/") >= 20, "premise: the items are shown"
        if form == "md":
            markdown_is_inert(out)
    _, out, _ = reports("scores", "quick")
    rows = list(csv.reader(io.StringIO(out)))
    assert {len(row) for row in rows} == {9}
    assert not any(character in cell for row in rows for cell in row for character in (*FORBIDDEN, "\n"))
    frame, tables = tables_of(rich.store)
    for section in model_of(frame, tables, f"x {text}").sections:
        markdown_is_inert(section.markdown)


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
