"""A trained encoder as others load it: `python -m models.export RUN DIR [--format ...]`.

    sentence-transformers   merged weights, tokenizer, pooling, normalisation, prompts (format of version 6)
    merged                  weights and tokenizer alone, for transformers
    adapter                 the LoRA in peft's own format, to be laid onto the public base model

The tokenizer's post-processor is rewritten to put on exactly the specials that `tokenizer.py` does, so that a model that pools
its EOS keeps it in other hands too (trap 1). Merging happens in float32 (trap 27). A model card is written beside.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.adapted import Adapted
from models.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, is_adapter
from models.backbone import TOKENIZER_FILES, locate
from models.encoder import EncoderSpec
from models.network import AS_CONFIGURED, load_model, quiet
from models.tokenizer import Tokenizer, is_decoder

if TYPE_CHECKING:
    from models.trained import Trained

FORMATS = ("sentence-transformers", "merged", "adapter")
POOLING_MODES = {"last_token": "lasttoken", "mean": "mean", "weighted_mean": "weightedmean", "cls": "cls"}


class ExportError(ValueError):
    """What cannot be carried by the format, or a folder that is taken; says what can be done instead."""


def export(
    spec: EncoderSpec, checkpoints: Sequence[Path], prompts: Mapping[str, str], models_root: str | None, out: Path
) -> None:
    """Write a sentence-transformers folder into `out`, which must not exist yet.

    `prompts` are what goes before a text, by name, such as `{"query": "query: ", "document": ""}`. Raises ExportError for
    an attention that a saved configuration cannot carry, and whatever loading raises.
    """
    export_merged(spec, checkpoints, models_root, out)
    modules = [("", "sentence_transformers.base.modules.transformer.Transformer"),
               ("1_Pooling", "sentence_transformers.sentence_transformer.modules.pooling.Pooling")]  # fmt: skip
    if spec.normalize:
        modules.append(("2_Normalize", "sentence_transformers.base.modules.normalize.Normalize"))
        (out / "2_Normalize").mkdir()
        _write(out / "2_Normalize" / "config.json", {})
    (out / "1_Pooling").mkdir()
    size = json.loads((out / "config.json").read_text(encoding="utf-8"))["hidden_size"]
    _write(out / "1_Pooling" / "config.json", {"embedding_dimension": size, "include_prompt": True,
                                               "pooling_mode": POOLING_MODES[spec.pooling.kind]})  # fmt: skip
    _write(out / "modules.json", [{"idx": i, "name": str(i), "path": path, "type": kind}
                                  for i, (path, kind) in enumerate(modules)])  # fmt: skip
    _write(out / "sentence_bert_config.json", {"max_seq_length": spec.max_length})
    _write(out / "config_sentence_transformers.json", {"prompts": dict(prompts), "similarity_fn_name": "cosine",
                                                       "model_type": "SentenceTransformer"})  # fmt: skip


def export_merged(spec: EncoderSpec, checkpoints: Sequence[Path], models_root: str | None, out: Path) -> None:
    """Write weights in float32, everything merged, with configuration and tokenizer, into `out`."""
    folder = _portable(spec, models_root)
    model: Any = load_model(folder, spec.attention, "float32", checkpoints, "cpu", merge_last=True, positions=spec.positions)
    out.mkdir(parents=True)
    with quiet():
        model.save_pretrained(out)
    _write_tokenizer(folder, spec.max_length, out)


def export_adapter(spec: EncoderSpec, checkpoints: Sequence[Path], models_root: str | None, out: Path) -> None:
    """Copy the adapter with a tokenizer into `out`; raises ExportError unless the public base is all it lies on."""
    folder = _portable(spec, models_root)
    if not is_adapter(checkpoints[-1]):
        raise ExportError("export: all weights were trained, there is no adapter; use --format merged")
    if len(checkpoints) > 1:
        raise ExportError("export: the adapter lies on weights that were pre-trained here; nobody else has them, so use "
                          "--format merged or sentence-transformers")  # fmt: skip
    if spec.positions != AS_CONFIGURED:
        raise ExportError("export: an adapter carries no rotary base or window, and this one was trained under others than "
                          "its base model's; use --format merged")  # fmt: skip
    out.mkdir(parents=True)
    for name in (ADAPTER_WEIGHTS, ADAPTER_CONFIG):
        shutil.copyfile(checkpoints[-1] / name, out / name)
    _write_tokenizer(folder, spec.max_length, out)


def export_run(trained: Trained, kind: str, models_root: str | None, out: Path) -> None:
    """Write a trained run with its card into `out`, all of it or nothing; raises ExportError if `out` exists."""
    from models.card import prompts_of, write_card

    if out.exists():
        raise ExportError(f"export: {out} exists; name another folder, or move it away")
    spec, prompts = encoder_of(trained), prompts_of(trained)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    if kind == "adapter":
        export_adapter(spec, trained.checkpoints, models_root, partial)
    elif kind == "merged":
        export_merged(spec, trained.checkpoints, models_root, partial)
    else:
        export(spec, trained.checkpoints, prompts, models_root, partial)
    write_card(trained, prompts, kind, partial)
    partial.rename(out)


def encoder_of(trained: Trained) -> EncoderSpec:
    """As it was trained; normalised unless no evaluation was."""
    spec = trained.spec
    judged = [evaluation.spec["encoder"]["normalize"] for evaluation in trained.evaluations]
    return EncoderSpec(
        spec.backbone, spec.pooling, spec.attention, spec.max_length, not judged or any(judged), "float32",
        spec.train.chunk_tokens, spec.positions,
    )  # fmt: skip


def _portable(spec: EncoderSpec, models_root: str | None) -> Path:
    """The backbone's folder, if the attention is what the architecture does by itself."""
    if isinstance(spec.backbone, Adapted):
        raise ExportError("export: a published adapter was judged, not trained; it is exported already")
    folder = locate(spec.backbone, models_root)
    own = "causal" if is_decoder(folder) else "bidirectional"
    if spec.attention not in ("native", own):
        raise ExportError(f"export: attention {spec.attention!r} is not the architecture's own; other readers would drop it")
    return folder


def _write_tokenizer(folder: Path, max_length: int, out: Path) -> None:
    for name in TOKENIZER_FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    Tokenizer(folder, max_length).write_specials(out / "tokenizer.json")


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    """Export, or say what is in the way."""
    from models.trained import find

    parser = argparse.ArgumentParser(prog="python -m models.export", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="SWEEP[@id][:arm[:seed]], or the folder of a finetune or pretrain step")
    parser.add_argument("dir", type=Path, help="the folder to write, which must not exist yet")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0])
    parser.add_argument("--store", type=Path, default=Path("store"))
    parser.add_argument("--models", help="folder with local models, as runtime.models")
    options = parser.parse_args()
    warnings.simplefilter("ignore", FutureWarning)  # of peft and transformers about each other
    try:
        trained = find(options.store.expanduser().resolve(), options.run)
        export_run(trained, options.format, options.models, options.dir)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(str(error) if options.models else f"{error} (--models says where local models lie)"
                 if "runtime.models" in str(error) else str(error))  # fmt: skip
    print(f"{trained.name} as {options.format} in {options.dir}")


if __name__ == "__main__":
    main()
