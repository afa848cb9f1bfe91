"""Personalised passkey retrieval at growing lengths (paper, Figure 5): the document that states somebody's key is to be found.

Every document is filler around two sentences with one person's pass key, at a random place; a query asks for the key of a
named person. One task a length, top-1 accuracy, 100 documents of which the first 50 are asked for, as the paper and LongEmbed
have it. The texts are made here from the seed: no network. Lengths are asked in tokens and met in words, for no tokenizer is
part of a task; too long a document would be cut by the encoder, key and all.

The authors' own texts are LongEmbed's (`eval=longembed`): the same task, not the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import cycle, product
from random import Random
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval, MinLen

from harness.identity import canonical
from harness.tasks.prompts import Prompts

MAKER = 1  # raised when the same parameters would give other texts; a golden digest in the tests notices
PREFIX = "Passkey"
TASK_TYPE, MAIN = "Retrieval", "ndcg_at_1"  # with one right document: the share of queries that find it first
INSTRUCTION = "Given a question about a person's pass key, retrieve the passage that states it"
FILLER = ("The grass is green.", "The sky is blue.", "The sun is yellow.", "Here we go.", "There and back again.")
FIRST = ("Ada", "Boris", "Carmen", "Deepak", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Keiko", "Liam", "Mara",
         "Nils", "Olga", "Pablo", "Quinn", "Rosa", "Sven", "Tessa")  # fmt: skip
LAST = ("Abbott", "Becker", "Castro", "Dubois", "Eriksen", "Fontana", "Garcia", "Haddad", "Ivanov", "Jensen", "Kowalski",
        "Larsen", "Moreau", "Novak", "Okafor", "Petrov", "Rossi", "Sato", "Tanaka", "Weber")  # fmt: skip
PEOPLE = len(FIRST) * len(LAST)


@dataclass(frozen=True)
class Making:
    """All that decides the texts of one length."""

    length: Annotated[int, Ge(64)]
    """Tokens, about."""
    words_per_token: float
    documents: int
    queries: int
    seed: int
    maker: int


@dataclass(frozen=True)
class Passkey:
    """The task at several lengths."""

    kind: Literal["passkey"]
    lengths: Annotated[tuple[Annotated[int, Ge(64)], ...], MinLen(1)]
    """Tokens of a document, about."""
    words_per_token: Annotated[float, Interval(gt=0, le=1)]
    """How many words are written for a token of the length: low enough that no document is cut."""
    documents: Annotated[int, Interval(ge=2, le=PEOPLE)]
    """Candidates of every query."""
    queries: Annotated[int, Ge(1)]
    """Of the first so many people."""
    seed: int
    """Of names, keys and places."""
    instructions: Prompts
    mteb: str
    """The mteb version that scores."""

    def __post_init__(self) -> None:
        """Every query needs its document, and every length its own task."""
        if self.queries > self.documents:
            raise ValueError(f"eval.queries: {self.queries} queries need as many documents, there are {self.documents}")
        if len(set(self.lengths)) < len(self.lengths):
            raise ValueError(f"eval.lengths: {list(self.lengths)} names a length twice")

    def tasks(self) -> Iterator[tuple[str, str]]:
        """Name and revision of the task of every length; the revision says how its texts are made."""
        for length in self.lengths:
            making = Making(length, self.words_per_token, self.documents, self.queries, self.seed, MAKER)
            yield f"{PREFIX}{length}", canonical(making)


@dataclass(frozen=True)
class Texts:
    """Documents, each with the person it is about; the queries ask for the first of them."""

    people: tuple[str, ...]
    documents: tuple[str, ...]
    queries: tuple[str, ...]


def making_of(revision: str) -> Making:
    """The parameters a task's revision holds."""
    return Making(**json.loads(revision))


@cache
def make(making: Making) -> Texts:
    """The texts of one length: names and keys are distinct, and each document has its key in a place of its own."""
    random = Random(canonical(making))  # noqa: S311 - a benchmark's texts, no secret
    people = random.sample([f"{first} {last}" for first, last in product(FIRST, LAST)], making.documents)
    keys = random.sample(range(10_000, 100_000), making.documents)
    documents = tuple(_document(making, person, key, random) for person, key in zip(people, keys, strict=True))
    queries = tuple(f"what is the pass key for {person}?" for person in people[: making.queries])
    return Texts(tuple(people), documents, queries)


def _document(making: Making, person: str, key: int, random: Random) -> str:
    needle = f"The pass key for {person} is {key}. Remember it. {key} is the pass key for {person}."
    left = int(making.length * making.words_per_token) - len(needle.split())
    filler: list[str] = []
    for sentence in cycle(FILLER):
        left -= len(sentence.split())
        if left < 0:
            break
        filler.append(sentence)
    place = random.randint(0, len(filler))
    return " ".join((*filler[:place], needle, *filler[place:]))


@cache
def task_class(name: str, revision: str) -> type[Any]:
    """The mteb task class of one length."""
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    metadata = TaskMetadata(
        name=name, type=TASK_TYPE, main_score=MAIN, description="The pass key of a person, in a long document.",
        prompt=INSTRUCTION, dataset={"path": "passkey", "revision": revision}, eval_langs=["eng-Latn"],
    )  # fmt: skip
    return type(name, (AbsTaskRetrieval,), {"metadata": metadata, "load_data": _load_data})


def _load_data(self: Any, num_proc: int | None = None, **_: Any) -> None:  # noqa: ARG001 - mteb's signature
    """`load_data` of every passkey task."""
    from datasets import Dataset

    texts = make(making_of(self.metadata.dataset["revision"]))
    documents = [{"id": f"d{row:03d}", "title": "", "text": text} for row, text in enumerate(texts.documents)]
    queries = [{"id": f"q{row:03d}", "text": text} for row, text in enumerate(texts.queries)]
    relevant = {query["id"]: {document["id"]: 1} for query, document in zip(queries, documents, strict=False)}
    self.dataset = {"default": {"test": {
        "corpus": Dataset.from_list(documents), "queries": Dataset.from_list(queries), "relevant_docs": relevant,
        "top_ranked": None,
    }}}  # fmt: skip
    self.data_loaded = True
