"""Text from elsewhere, made inert: whatever an arm, a task or a generated text contains, a table stays a table.

Names come from configuration, texts from LLMs and data sets; neither may move a cursor, open a link or run a macro. Each
output format has one function here, and every renderer passes all text through it.
"""

from __future__ import annotations

import html as html_escapes
import re

from harness.inert import visible

__all__ = ["html", "latex", "markdown", "visible"]

_MARKDOWN = re.compile(r"[\\`*_\[\]|~$]")
_MENTION = re.compile(r"(?<!\w)@(?=\w)")
# What makes a line a list, heading, quotation or rule: a bullet or number only when a space follows, so that a score stays one.
_LINE_START = re.compile(r"^(\s*)([-+](?=\s|$)|\d+[.)](?=\s|$)|[#=>]|--)")
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
}  # fmt: skip
_LATEX_SYMBOLS = {
    "\N{MINUS SIGN}": "$-$", "\N{PLUS-MINUS SIGN}": r"$\pm$", "\N{GREEK CAPITAL LETTER DELTA}": r"$\Delta$",
    "\N{HORIZONTAL ELLIPSIS}": r"\dots{}", "\N{EN DASH}": "--", "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{DAGGER}": r"\dag{}", "\N{DOUBLE DAGGER}": r"\ddag{}",
}  # fmt: skip


def markdown(text: str) -> str:
    """Text that Markdown shows as it is: no link, image, emphasis, HTML, list or table border; mentions and URLs stay text."""
    clean = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    clean = _MARKDOWN.sub(lambda match: "\\" + match.group(), clean)
    clean = clean.replace("://", "&#58;//").replace("www.", "www&#46;")
    return _LINE_START.sub(
        lambda match: f"{match.group(1)}&#{ord(match.group(2)[0])};{match.group(2)[1:]}", _MENTION.sub("&#64;", clean)
    )


def html(text: str) -> str:
    """Text for HTML elements and quoted attributes."""
    return html_escapes.escape(visible(text), quote=True)


def latex(text: str) -> str:
    """Text for LaTeX with T1 fonts; characters a plain pdflatex cannot set are spelled out as U+XXXX."""
    return "".join(_latex_character(character) for character in visible(text))


def _latex_character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if character in _LATEX_SYMBOLS:
        return _LATEX_SYMBOLS[character]
    # Latin-1 and Latin Extended-A letters are set by T1 and utf8 input; anything beyond would stop the compilation.
    return character if ord(character) < 0x180 else f"U+{ord(character):04X}"


def csv(text: str) -> str:
    """Text for a CSV cell: a spreadsheet takes it for text, not for a formula."""
    clean = visible(text)
    return "'" + clean if clean[:1] in ("=", "+", "-", "@") else clean
