"""Build the quickstart backbone from nothing: corpus, tokenizer, training, export, figures and card.

Idea: one command whose output is committed, so that whoever doubts the weights can make their own and compare.
Boundary: ``python -m models.tiny.build`` writes the model folder and, beside it, the card and its record.
What it is not: part of the product's build. A stopped run goes on from ``--work``; a finished one is only exported.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer
from transformers import MistralForCausalLM, MistralModel, PreTrainedTokenizerFast

from models.tiny.card import card_text
from models.tiny.corpus import HELD_OUT_PACKAGES, Corpus, collect
from models.tiny.packing import BOS, EOS, PAD, SPECIALS, UNK, Tokens, encode, rows_of, train_tokenizer
from models.tiny.probe import Figures, retrieval, summary_pairs
from models.tiny.train import Decoder, Schedule, held_out_loss, model_config, train

PROBE_PAIRS = 300


def export(decoder: Decoder, tokenizer: Tokenizer, folder: Path) -> MistralModel:
    """Write ``folder`` as a plain ``MistralModel`` in bf16 with its tokenizer, and return the model read back."""
    folder.mkdir(parents=True, exist_ok=True)
    config = model_config()
    config.architectures = ["MistralModel"]
    model = MistralModel(config)
    prefix = "model."
    weights = {name.removeprefix(prefix): weight.detach() for name, weight in decoder.master.items()}
    model.load_state_dict(weights, strict=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=SPECIALS[UNK], bos_token=SPECIALS[BOS], eos_token=SPECIALS[EOS],
        pad_token=SPECIALS[PAD], model_max_length=config.max_position_embeddings, clean_up_tokenization_spaces=False,
    )  # fmt: skip
    wrapped.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # the weights are written for their owner only
    read_back: MistralModel = MistralModel.from_pretrained(folder, local_files_only=True, dtype=torch.bfloat16)
    return read_back.eval()


def random_model(seed: int) -> MistralModel:
    """Return an untrained model of the same shape in bf16: what the probe and the test compare with."""
    torch.manual_seed(seed)
    return MistralForCausalLM(model_config()).model.to(torch.bfloat16).eval()


def probes(trained: MistralModel, tokenizer: Tokenizer, corpus: Corpus, seed: int) -> dict[str, Any]:
    """Return the retrieval figures of the trained and of an untrained model on the same held-out pairs."""
    pairs = summary_pairs(corpus.held_out, PROBE_PAIRS, seed)
    untrained: Figures = retrieval(random_model(seed), tokenizer, pairs)
    return {"pairs": len(pairs), "trained": retrieval(trained, tokenizer, pairs), "untrained": untrained}


def record_of(
    corpus: Corpus, documents: list[Tokens], held_out: list[Tokens], plan: Schedule, progress: dict[str, Any]
) -> dict[str, Any]:
    """Return what the card states and can be checked: sources, counts, schedule, software and hardware."""
    return {
        "sources": [asdict(source) for source in corpus.sources],
        "held_out_packages": list(HELD_OUT_PACKAGES),
        "corpus_sha256": corpus.digest(),
        "train_documents": len(documents),
        "train_tokens": sum(map(len, documents)),
        "held_out_documents": len(held_out),
        "held_out_tokens": sum(map(len, held_out)),
        "held_out_bytes": sum(len(text.encode()) for text in corpus.held_out),
        "schedule": asdict(plan),
        "progress": progress,
        "software": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "hardware": f"one thread of a shared {platform.machine()} processor with bf16 instructions, no accelerator",
    }


def build(plan: Schedule, out: Path, work: Path, remark: str) -> dict[str, Any]:
    """Run every stage and return the record; ``out`` is the model folder, the card goes to the folder above it."""
    work.mkdir(parents=True, exist_ok=True)
    corpus = collect()
    tokenizer = train_tokenizer(corpus.train)
    documents, held_out = encode(tokenizer, corpus.train), encode(tokenizer, corpus.held_out)
    rows = rows_of(held_out, plan.row, np.random.default_rng(0).permutation(len(held_out)))
    decoder, progress = train(documents, rows, plan, work)
    record = record_of(corpus, documents, held_out, plan, progress)
    record["remark"] = remark
    record["held_out_loss"] = held_out_loss(decoder, rows)
    record["untrained_held_out_loss"] = held_out_loss(Decoder(plan.seed), rows[:16])
    model = export(decoder, tokenizer, out)
    record["parameters"] = sum(weight.numel() for weight in model.parameters())
    record["probe"] = probes(model, tokenizer, corpus, plan.seed)
    weights = out / "model.safetensors"
    record["weights_bytes"] = weights.stat().st_size
    record["weights_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    write_card(record, out, work)
    return record


def write_card(record: dict[str, Any], out: Path, work: Path) -> None:
    """Write README.md, record.json, weights.sha256 and the training log beside the model folder."""
    home = out.parent
    (home / "record.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (home / "README.md").write_text(card_text(record), encoding="utf-8")
    line = f"{record['weights_sha256']}  {out.name}/model.safetensors\n"
    (home / "weights.sha256").write_text(line, encoding="utf-8")
    shutil.copyfile(work / "train_log.jsonl", home / "train_log.jsonl")


def main() -> None:
    """Parse the command line, build with one thread and print the figures that matter."""
    parser = argparse.ArgumentParser(description="Build the quickstart backbone.")
    parser.add_argument("--minutes", type=float, default=50.0, help="wall time of training")
    parser.add_argument("--out", type=Path, default=Path("models/tiny/weights"), help="model folder")
    default_work = Path(tempfile.gettempdir()) / "tiny-backbone"
    parser.add_argument("--work", type=Path, default=default_work, help="checkpoint and log; kept between runs")
    parser.add_argument("--remark", default="", help="what the card should say about how this run was made")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = build(Schedule(minutes=options.minutes), options.out, options.work, options.remark)
    shown = ("parameters", "progress", "held_out_loss", "untrained_held_out_loss", "probe", "weights_sha256")
    print(json.dumps({key: record[key] for key in shown}, indent=1))


if __name__ == "__main__":
    main()
