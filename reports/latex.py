"""A table in LaTeX: a complete document (booktabs) that compiles with pdflatex as it stands; its tabular can be pasted.

Every text passes through `inert.latex`; numbers are the only thing set in mathematics.
"""

from __future__ import annotations

from collections.abc import Iterable

from reports import inert
from reports.render import lines_of
from reports.tables import Row, Table

PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{lmodern,textcomp,booktabs,graphicx}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\pagestyle{empty}
\begin{document}
"""


def document(tables: Iterable[Table]) -> str:
    """One document with every table, its question and answer above and its footnotes below."""
    return PREAMBLE + "\n\\bigskip\n".join(_table(table) for table in tables) + "\\end{document}\n"


def _table(table: Table) -> str:
    said = inert.latex(f"{table.question} {table.answer}".strip())
    lines = [f"\\noindent\\textbf{{{inert.latex(table.title)}}}. {said}", "", "\\medskip\\noindent"]
    if len(table.columns) > 6:
        lines.append("\\resizebox{\\textwidth}{!}{%")
    lines += [*_tabular(table), "}" if len(table.columns) > 6 else "", "", "\\medskip"]
    lines += [f"{{\\footnotesize\\noindent {inert.latex(note)}\\par}}" for note in table.footnotes]
    return "\n".join(lines) + "\n"


def _tabular(table: Table) -> list[str]:
    heads = [f"\\textbf{{{inert.latex(column)}}}" for column in table.columns]
    lines = [f"\\begin{{tabular}}{{l{'r' * len(heads)}}}", "\\toprule", " & ".join(["", *heads]) + r" \\", "\\midrule"]
    previous: Row | None = None
    for row in table.rows:
        if previous is not None and (row.kind != "reference" or previous.kind != "reference"):
            lines.append("\\midrule" if row.kind == "reference" else "\\addlinespace")
        for index, (label, texts) in enumerate(lines_of(row)):
            cells = [inert.latex(text) for text in texts]
            if index == 0:
                cells = [f"\\textbf{{{text}}}" if row.cells[i].best else text for i, text in enumerate(cells)]
            indent = "\\quad " if label.startswith(" ") else ""
            lines.append(" & ".join([indent + inert.latex(label.strip()), *cells]) + r" \\")
        previous = row
    return [*lines, "\\bottomrule", "\\end{tabular}%"]
