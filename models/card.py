"""The model card of a trained encoder: what it is, what it learnt from, how it was judged, all from records.

Texts of pairs were written by language models or strangers: they are shown as character references, so that nothing in them
is markup. Numbers come from payloads; the same run gives the same card.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.inert import visible
from harness.instructions import render
from harness.pairs import iterate_pairs
from models.backbone import label

if TYPE_CHECKING:
    from models.trained import Judged, Trained

CARD_FILE = "README.md"
SHOWN = 400  # characters of an example
LANGUAGES = 12  # rows of the table
MARKUP = re.compile(r"[\\`*_{}\[\]<>#|!&~$@:/]|(?<=www)\.", re.IGNORECASE)


def write_card(trained: Trained, prompts: Mapping[str, str], kind: str, out: Path) -> None:
    """Write `README.md` of an export of this kind (`sentence-transformers`, `adapter`, `merged`)."""
    sections = (_head(trained, kind), _use(prompts, kind), _training(trained), _data(trained), _scores(trained))
    text = "\n".join(line for section in sections for line in section)
    (out / CARD_FILE).write_text(text + "\n", encoding="utf-8")


def inert(text: str) -> str:
    """A stranger's text for Markdown: cut, on one line, every sign that could be markup or a link as a character reference."""
    cut = text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
    return MARKUP.sub(lambda match: f"&#{ord(match.group())};", visible(cut))


def _head(trained: Trained, kind: str) -> Iterator[str]:
    spec, base = trained.spec, label(trained.spec.backbone)
    library = "peft" if kind == "adapter" else "sentence-transformers" if kind == "sentence-transformers" else "transformers"
    yield from ("---", f"base_model: {json.dumps(base)}", f"library_name: {library}", "pipeline_tag: sentence-similarity",
                "tags: [sentence-similarity, feature-extraction]", "---", "", f"# {inert(trained.name)}", "")  # fmt: skip
    step = f"{trained.record.step}/{trained.record.fingerprint}"
    yield f"A text encoder trained from {inert(base)}; exported as {kind} from `{step}`."
    yield ""
    facts = {
        "pooling": spec.pooling.kind, "adapter": spec.adapter.kind, "attention": spec.attention,
        "maximum length": f"{spec.max_length} tokens", "instruction format": spec.instruction.kind,
        "rotary base": spec.positions.rope_base or "as the base model", "payload digest": trained.record.digest,
    }  # fmt: skip
    yield from _table(("", ""), ((name, str(value)) for name, value in facts.items()))


def _use(prompts: Mapping[str, str], kind: str) -> Iterator[str]:
    if kind == "sentence-transformers":
        yield from ("", "## Use", "", "```python", "from sentence_transformers import SentenceTransformer", "",
                    'model = SentenceTransformer("path/to/this/folder")',
                    'queries = model.encode(["..."], prompt_name="query")',
                    'documents = model.encode(["..."])', "```")  # fmt: skip
    yield from ("", "Texts end in the special tokens that `tokenizer.json` puts on; vectors are compared by cosine.")
    if prompts:
        yield from ("", "Before a query stands:", "")
        yield from _table(("prompt", "text"), ((inert(name), inert(text)) for name, text in prompts.items()))


def _training(trained: Trained) -> Iterator[str]:
    told = json.loads((trained.payload / "training.json").read_text(encoding="utf-8"))
    lines = (trained.payload / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    first, last = (json.loads(line)["loss"] for line in (lines[0], lines[-1]))
    yield from ("", "## Training", "")
    yield (f"{told['steps']} steps over {told['examples']:,.0f} examples ({told['epochs']:.2f} epochs), "
           f"{told['trainable_parameters']:,} trained parameters, {told['negatives_per_query']:.1f} negatives a query; "
           f"the loss went from {first:.4f} to {last:.4f}.")  # fmt: skip
    if len(trained.checkpoints) > 1:
        yield f"It went on from {len(trained.checkpoints) - 1} earlier training step, contrastive pre-training."
    yield ""
    yield from _table(("setting", "value"), ((inert(name), inert(value)) for name, value in _flat(trained.record.spec)))


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of a record's specification by dotted path."""
    if isinstance(value, Mapping):
        for key, part in sorted(value.items()):
            yield from _flat(part, f"{path}.{key}" if path else key)
    else:
        yield path, value if isinstance(value, str) else json.dumps(value)


def _data(trained: Trained) -> Iterator[str]:
    groups: Counter[tuple[str, str]] = Counter()
    languages: Counter[str] = Counter()
    words: Counter[str] = Counter()
    negatives = 0
    for pair in iterate_pairs(trained.pairs / "pairs.parquet"):
        groups[pair.source, pair.task_type] += 1
        languages[pair.language] += 1
        negatives += len(pair.negatives)
        words["query"] += len(pair.query.split())
        words["positive"] += len(pair.positive.split())
    total = groups.total()
    yield from ("", "## Data", "")
    yield (f"{total:,} pairs, {negatives / total:.2f} hard negatives each; {words['query'] / total:.0f} words a query and "
           f"{words['positive'] / total:.0f} a positive on average (counted by blanks).")  # fmt: skip
    yield ""
    yield from _table(
        ("source", "task type", "pairs"), ((inert(s), inert(t), f"{n:,}") for (s, t), n in sorted(groups.items()))
    )
    shown = languages.most_common(LANGUAGES)
    rest = total - sum(count for _, count in shown)
    yield ""
    yield from _table(("language of the query", "pairs"), [(inert(name), f"{count:,}") for name, count in shown]
                      + ([("others", f"{rest:,}")] if rest else []))  # fmt: skip
    yield from ("", "The first examples of training as the model saw them:")
    for row in json.loads((trained.payload / "training.json").read_text(encoding="utf-8"))["preview"]:
        yield from ("", f"- query: {inert(row['query'])}", *(f"  - document: {inert(text)}" for text in row["documents"]))


def _scores(trained: Trained) -> Iterator[str]:
    yield from ("", "## Scores", "")
    if not trained.evaluations:
        yield "Not judged yet."
    else:
        yield from _table(("task", "type", "metric", "score", "items"), map(_score, trained.evaluations))
        versions = sorted({judged.scores.mteb_version for judged in trained.evaluations})
        yield from ("", f"0 to 100, mteb {', '.join(versions)}. Scores on tasks whose training data is in the mix say less.")
    if trained.unjudged:
        yield from ("", f"Not judged yet: {', '.join(map(inert, trained.unjudged))}.")


def _score(judged: Judged) -> Sequence[str]:
    found = judged.scores
    items = sum(subset.n_items for subset in found.subsets)
    return inert(found.task), inert(found.task_type), inert(found.main_metric), f"{100 * found.main:.2f}", f"{items:,}"


def prompts_of(trained: Trained) -> dict[str, str]:
    """What goes before a query, by task as it was judged, and `query` and `document` for any other."""
    form = trained.spec.instruction
    general = "Given a web search query, retrieve relevant passages that answer the query"
    found = {"query": render(form, "Retrieval", "query", general, ""), "document": ""}
    for judged in trained.evaluations:
        task = judged.spec["task"]
        found[task["name"]] = render(form, task["task_type"], "query", task["instruction"], "")
    return {name: text for name, text in found.items() if text or name in ("query", "document")}


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{' --- |' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
