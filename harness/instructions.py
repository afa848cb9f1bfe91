r"""The one place where text meets its template: training and evaluation both call `render`.

A *format* says how an instruction is attached; a table says, for a (task type, side), whether it is. Task types are the
taxonomy's (`harness.pairs`) and mteb's; both are rows of the same table, so that a task is trained and judged alike.

E5-Mistral (arXiv 2401.00368, section 3.2; microsoft/unilm e5 at 768a3c8): `Instruct: {task}\nQuery: {query}` on queries,
documents bare; outside retrieval and reranking every text is a query. The task-type prefix is its appendix A: "classify: "
for long-short, "query: " for the other asymmetric groups, nothing for symmetric ones.

Not here: tokens (EOS, truncation), which belong to `models.tokenizer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from harness.kinds import BY_KIND

Side = Literal["query", "document"]


@dataclass(frozen=True)
class Natural:
    """The paper's format: the task in words before the query."""

    kind: Literal["natural"]


@dataclass(frozen=True)
class NoInstruction:
    """Bare texts on both sides (Table 5, 'w/o instruction')."""

    kind: Literal["none"]


@dataclass(frozen=True)
class TaskTypePrefix:
    """A word for the type of task instead of a sentence for the task (Table 5, 'w/ task type prefix')."""

    kind: Literal["task_type_prefix"]


InstructionFormat = Annotated[Natural | NoInstruction | TaskTypePrefix, BY_KIND]


@dataclass(frozen=True)
class Row:
    """How one type of task is templated."""

    documents: bool
    """Whether the document side carries the instruction too (symmetric types: both sides are queries)."""
    prefix: str
    """The task-type prefix of the query side; also of the document side where `documents` holds."""


# Clustering and classification judge single texts, all of them queries; the "document" of a long-short pair is a label.
TABLE: dict[str, Row] = {
    "short_long": Row(documents=False, prefix="query: "),
    "long_short": Row(documents=False, prefix="classify: "),
    "short_short": Row(documents=False, prefix="query: "),
    "long_long": Row(documents=False, prefix="query: "),
    "sts": Row(documents=True, prefix=""),
    "bitext": Row(documents=True, prefix=""),
    "Retrieval": Row(documents=False, prefix="query: "),
    "InstructionRetrieval": Row(documents=False, prefix="query: "),
    "InstructionReranking": Row(documents=False, prefix="query: "),
    "Reranking": Row(documents=False, prefix="query: "),
    "Classification": Row(documents=True, prefix="classify: "),
    "MultilabelClassification": Row(documents=True, prefix="classify: "),
    "Clustering": Row(documents=True, prefix="classify: "),
    "PairClassification": Row(documents=True, prefix=""),
    "STS": Row(documents=True, prefix=""),
    "Summarization": Row(documents=True, prefix=""),
    "BitextMining": Row(documents=True, prefix=""),
}


def render(form: InstructionFormat, task_type: str, side: Side, instruction: str, text: str) -> str:
    """The string a model sees for `text`, before tokenisation.

    An empty `instruction` leaves the text bare. Raises KeyError naming the task type if the table has no row for it.
    """
    row = TABLE.get(task_type)
    if row is None:
        raise KeyError(f"task type {task_type!r} has no row in harness.instructions.TABLE; known: {', '.join(TABLE)}")
    if side == "document" and not row.documents:
        return text
    if isinstance(form, Natural):
        return f"Instruct: {instruction}\nQuery: {text}" if instruction else text
    if isinstance(form, TaskTypePrefix):
        return row.prefix + text
    return text
