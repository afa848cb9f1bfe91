"""Write the model card from the record that a build leaves behind.

Idea: every figure in the card comes from the record, none is typed in, so card and weights cannot drift apart.
Boundary: a record (the dictionary stored as ``record.json``) in, Markdown out.
What it is not: a place for measurements; those are taken in ``build`` and ``probe``.
"""

from __future__ import annotations

import math
import re
import textwrap
from typing import Any

_USE = """\
```python
from transformers import AutoModel, AutoTokenizer

model = AutoModel.from_pretrained("models/tiny/weights")
tokenizer = AutoTokenizer.from_pretrained("models/tiny/weights")
```

The tokenizer puts `<s>` in front and nothing behind; whoever pools the last token appends `</s>` (id 2) itself.
`<pad>` (id 3) is a token of its own, `<unk>` is 0, `<s>` is 1.
"""

_LIMITS = """\
- English technical documentation only. Everyday language, other languages and source code are hardly covered.
- A starting point for a short fine-tune and for tests. No fine-tune of it was measured for this card.
- Trained on rows of 256 and 512 tokens. Positions up to 2048 are accepted, but distances above 511 were never seen.
- The schedule follows the clock and sums are in bf16, so a rebuild gives close figures, not equal bytes. The bytes
  committed here are the ones with the SHA-256 above.
- A dozen packages make up most of the text, so its style is theirs (parameter lists, cross-reference marks).
- Benchmark rows are kept out by leaving out packages and folders, not by comparing with benchmark data. Docstrings on
  training embedding models quote single example pairs, some of which look like rows of public sets (a pair on becoming
  a geologist, known from Quora's duplicate questions, stands in one document), and name benchmarks.
- In a few dozen documents a special such as `<s>` is written out as text and was read as that special.
- Text of its sources may be reproduced in part; it is documentation published under open-source licences.
"""


def card_text(record: dict[str, Any]) -> str:
    """Return the README of the model folder for ``record``."""
    parts = (_title(record), _figures(record), _probe(record), _data(record), _training(record), _limits())
    return "\n\n".join(_reflow(block) for block in re.split(r"\n{2,}", "\n".join(parts).strip())) + "\n"


def _reflow(block: str) -> str:
    """Fill a paragraph to the line width; headings, tables, lists, code and indented lines stay as they are."""
    if block.startswith(("#", "|", "-", "`", " ", "model =", "tokenizer =")):
        return block
    return textwrap.fill(block, 118, break_long_words=False, break_on_hyphens=False)


def _title(record: dict[str, Any]) -> str:
    return f"""\
# The quickstart backbone

A decoder language model with {record["parameters"]:,} parameters, made here from nothing by `build.py`. It is small
enough to commit and has seen language, so that a LoRA fine-tune does not start from noise. The layout is Mistral's:
4 layers, width 192, 6 heads over 2 key/value heads, byte-level BPE of 8192 entries, no sliding window. The folder
`weights/` holds a plain `MistralModel` without a language-model head (the head was tied to the embeddings), in bf16.

Licence: Apache-2.0.

SHA-256 of `weights/model.safetensors` ({record["weights_bytes"]:,} bytes), also in `weights.sha256`:

    {record["weights_sha256"]}

{_USE}"""


def _figures(record: dict[str, Any]) -> str:
    progress = record["progress"]
    rate = progress["tokens"] / progress["seconds"]
    bits = record["held_out_loss"] * record["held_out_tokens"] / math.log(2) / record["held_out_bytes"]
    losses = (
        ("train, mean of the last logged 50 steps", progress["train_loss"]),
        ("held-out packages, all of them", record["held_out_loss"]),
        ("held-out packages, first 16 rows, same model untrained", record["untrained_held_out_loss"]),
    )
    rows = "\n".join(f"| {name} | {loss:.3f} | {math.exp(loss):.1f} |" for name, loss in losses)
    return f"""\
## Figures

{progress["step"]:,} steps, {progress["tokens"]:,} tokens ({progress["tokens"] / record["train_tokens"]:.2f} passes) in
{progress["seconds"] / 60:.1f} minutes, {rate:,.0f} tokens/s, on {record["hardware"]}. `train_log.jsonl` has
the course.

| next-token loss | nats | perplexity |
| --- | ---: | ---: |
{rows}

The held-out loss is about {bits:.2f} bits per byte. Perplexities hold for this vocabulary only.
"""


def _probe(record: dict[str, Any]) -> str:
    probe = record["probe"]
    rows = "\n".join(
        f"| {pooling} | {state} | {probe[state][pooling]['ndcg_at_10']:.3f} | {probe[state][pooling]['mrr']:.3f} |"
        for pooling in ("mean", "eos")
        for state in ("trained", "untrained")
    )
    return f"""\
## Zero-shot probe

{probe["pairs"]} docstrings of the held-out packages: the summary line must find the rest of its docstring among all of
them, by cosine, without any fine-tuning. A sanity figure, not an evaluation: one seed, one sample of pairs, summaries
that often share words with their body (no lexical baseline was taken).

| pooling | weights | nDCG@10 | MRR |
| --- | --- | ---: | ---: |
{rows}
"""


def _data(record: dict[str, Any]) -> str:
    held_out = set(record["held_out_packages"])
    ordered = sorted(record["sources"], key=lambda source: -source["text_bytes"])
    rows = "\n".join(
        f"| {source['name']} | {source['version']} | {source['documents']:,} | {source['text_bytes']:,} | "
        f"{'held out' if source['name'] in held_out else 'train'} |"
        for source in ordered
    )
    total = sum(source["text_bytes"] for source in ordered if source["name"] not in held_out)
    return f"""\
## Data

Documentation of installed packages: docstrings (parsed, not imported), `.rst`, `.md` and `.txt` documents, the long
descriptions of the distributions, and the same of the standard library with its language reference topics. {total:,}
bytes and {record["train_tokens"]:,} tokens in {record["train_documents"]:,} documents to train on,
{record["held_out_bytes"]:,} bytes and {record["held_out_tokens"]:,} tokens in {record["held_out_documents"]:,}
documents held out. SHA-256 over all documents: `{record["corpus_sha256"]}`.

Filters: exact duplicates of documents; a paragraph of 60 characters or more is kept twice at most, and not at all in
training when a held-out package has it; licence boilerplate; interactive sessions; paragraphs with few letters. Left
out on purpose: benchmark and evaluation packages, packages that carry model weights, packages whose docstrings quote
rows of public data sets, files and descriptions of data sets, test folders, vendored copies. One training document in
five is given paragraph by paragraph, so that short texts end in `</s>` as well.

| source | version | documents | bytes after filters | use |
| --- | --- | ---: | ---: | --- |
{rows}
"""


def _training(record: dict[str, Any]) -> str:
    plan, software = record["schedule"], record["software"]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(software.items()))
    return f"""\
## Training

    python -m models.tiny.build --minutes {plan["minutes"]:g} --out models/tiny/weights

{versions}; seed {plan["seed"]}. AdamW (betas 0.9 and 0.95, weight decay {plan["weight_decay"]}, gradient
norm at most 1), {plan["batch"] * plan["row"]:,} tokens a step, peak rate {plan["peak_rate"]}, {plan["warm_up"]:.0%}
warm-up, cosine to {plan["floor"]:.0%} of the peak. bf16 weights compute, a float32 copy is updated. No
setting was tuned, and held-out figures chose nothing. {record.get("remark", "")}

Documents are concatenated as `<s> ... </s>`; positions run on through a row, attention stays inside each document.
Rows have {plan["row"]} tokens in one step of {plan["long_every"]} and {plan["row"] // 2} in the others. The objective
is the next token. What follows `</s>` is another document, so nothing is predicted there; instead `</s>` is asked,
with weight {plan["bag_weight"]}, for {plan["bag_words"]} random tokens among the distinct ones of the document it
closes, because otherwise no loss would reach its state directly. How much that adds was not measured: there is one run,
with it. It is an addition to plain language-model training, and near to what the probe's `eos` rows ask for.
"""


def _limits() -> str:
    return f"## Limits\n\n{_LIMITS}"
