"""Which sentence tells a model what a task is: mteb's own, the paper's, none, or yours.

This decides the *instruction*; how it is attached to a text, and on which side, is `harness.instructions`. Documents of
retrieval and reranking never carry one, whatever is chosen here (traps 8 and 11), so that one sentence a task is enough.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from harness import catalogue
from harness.kinds import BY_KIND

CQADUPSTACK = (
    "Given a question, retrieve detailed question descriptions from Stackexchange that are duplicates to the given question"
)
"""The paper's sentence for the forum tasks (microsoft/unilm e5 at 768a3c8, utils.py); mteb has none for them."""

MIRACL = "Given a question, retrieve Wikipedia passages that answer the question"


@dataclass(frozen=True)
class MtebPrompts:
    """Exactly what mteb would use: the task's own prompt, else its task type's."""

    kind: Literal["mteb"]


@dataclass(frozen=True)
class PaperPrompts:
    """The paper's (Table 15 of the ACL version). mteb took over 44 of its 56; the others are completed here.

    A task without a sentence of its own takes that of the task it was cut from (hard negatives, `.v2`), because the paper
    names a sentence per data set.
    """

    kind: Literal["paper"]


@dataclass(frozen=True)
class NoPrompts:
    """No instruction on any text."""

    kind: Literal["none"]


@dataclass(frozen=True)
class PromptTable:
    """Your sentences by task name; a task that is not listed takes the paper's."""

    kind: Literal["table"]
    texts: dict[str, str]


Prompts = Annotated[MtebPrompts | PaperPrompts | NoPrompts | PromptTable, BY_KIND]


def instruction(prompts: Prompts, task: catalogue.Entry) -> str:
    """The sentence for a task of mteb; empty for none."""
    if isinstance(prompts, NoPrompts):
        return ""
    if isinstance(prompts, MtebPrompts):
        return task.prompt or task.fallback
    if isinstance(prompts, PromptTable) and task.name in prompts.texts:
        return prompts.texts[task.name]
    return _paper(task)


def own_instruction(prompts: Prompts, name: str, sentence: str) -> str:
    """The sentence for a task of ours, which brings its own."""
    if isinstance(prompts, NoPrompts):
        return ""
    texts: Mapping[str, str] = prompts.texts if isinstance(prompts, PromptTable) else {}
    return texts.get(name, sentence)


def _paper(task: catalogue.Entry) -> str:
    if task.name.startswith("CQADupstack"):
        return CQADUPSTACK
    if task.name.startswith("MIRACL") and task.type == "Retrieval":
        return MIRACL
    if task.prompt:
        return task.prompt
    parent = re.sub(r"(HardNegatives)?(\.v\d+)?$", "", task.name)
    known = {parent, f"{parent}2020", parent.removesuffix("Retrieval")} & set(catalogue.names())
    sentences = {catalogue.entry(name).prompt for name in known} - {""}
    return sentences.pop() if len(sentences) == 1 else task.fallback
