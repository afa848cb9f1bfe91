"""A trained encoder as a folder that sentence-transformers loads by itself: merged weights, tokenizer, pooling, prompts.

The tokenizer's post-processor is rewritten to put on exactly the specials that `tokenizer.py` does, so that a model that pools
its EOS keeps it in other hands too (trap 1). Merging happens in float32 (trap 27).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.backbone import TOKENIZER_FILES, locate
from models.encoder import EncoderSpec
from models.network import load_model
from models.tokenizer import Tokenizer

POOLING_MODES = {"last_token": "lasttoken", "mean": "mean", "weighted_mean": "weightedmean", "cls": "cls"}


def export(spec: EncoderSpec, checkpoints: Sequence[Path], prompts: dict[str, str], models_root: str | None, out: Path) -> None:
    """Write a sentence-transformers folder (format of version 6) into `out`, which must not exist yet.

    `prompts` are what goes before a text, by name, such as `{"query": "query: ", "document": ""}`. Raises
    ValueError for an attention that a saved configuration cannot carry, and whatever loading raises.
    """
    if spec.attention != "native" and _own_attention(spec, models_root) != spec.attention:
        raise ValueError(f"export: attention {spec.attention!r} is not the architecture's own; other readers would drop it")
    folder = locate(spec.backbone, models_root)
    model: Any = load_model(folder, spec.attention, "float32", checkpoints, "cpu", merge_last=True, positions=spec.positions)
    out.mkdir(parents=True)
    model.save_pretrained(out)
    for name in TOKENIZER_FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    Tokenizer(folder, spec.max_length).write_specials(out / "tokenizer.json")
    modules = [("", "sentence_transformers.base.modules.transformer.Transformer"),
               ("1_Pooling", "sentence_transformers.sentence_transformer.modules.pooling.Pooling")]  # fmt: skip
    if spec.normalize:
        modules.append(("2_Normalize", "sentence_transformers.base.modules.normalize.Normalize"))
        (out / "2_Normalize").mkdir()
        _write(out / "2_Normalize" / "config.json", {})
    (out / "1_Pooling").mkdir()
    _write(out / "1_Pooling" / "config.json", {"embedding_dimension": model.config.hidden_size, "include_prompt": True,
                                               "pooling_mode": POOLING_MODES[spec.pooling.kind]})  # fmt: skip
    _write(out / "modules.json", [{"idx": i, "name": str(i), "path": path, "type": kind}
                                  for i, (path, kind) in enumerate(modules)])  # fmt: skip
    _write(out / "sentence_bert_config.json", {"max_seq_length": spec.max_length})
    _write(out / "config_sentence_transformers.json", {"prompts": prompts, "similarity_fn_name": "cosine",
                                                       "model_type": "SentenceTransformer"})  # fmt: skip


def _own_attention(spec: EncoderSpec, models_root: str | None) -> str:
    """What the architecture does by itself."""
    from models.tokenizer import is_decoder

    return "causal" if is_decoder(locate(spec.backbone, models_root)) else "bidirectional"


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
