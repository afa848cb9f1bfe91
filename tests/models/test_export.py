"""What is exported is what was trained, in sentence-transformers', transformers' and peft's own hands, and says what it is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.instructions import Natural
from harness.pairs import Pair, write_pairs
from harness.record import PAYLOAD
from harness.runtime import Runtime
from harness.scores import SCORES_FILE, SubsetScore, TaskScores, write_scores
from harness.step import Step, Work, silent
from harness.store import Store
from harness.sweep_record import ArmRecord, RunRecord, StepRef, SweepRecord, find_sweep, read_sweep, write_sweep
from harness.tasks import TaskSpec
from models.adapter import Adapter, Full, Lora
from models.backbone import Folder
from models.batches import Mixed
from models.encoder import EncoderSpec, load_encoder
from models.export import ExportError, encoder_of, export, export_run
from models.losses import InfoNce
from models.network import Positions
from models.pooling import Cls, LastToken, Mean, WeightedMean, stated
from models.train import TrainingSpec, TrainSpec, train
from models.trained import TrainedError, find
from sweeps.plan import EvaluateSpec
from sweeps.steps import train_weights

PLAN = TrainSpec(
    kind="contrastive", loss=InfoNce("info_nce", 0.05, (), "joint", None, ()), sampler=Mixed("mixed"), batch_size=8,
    negatives=1, steps=2, learning_rate=5e-3, warmup_steps=0, schedule="linear", weight_decay=0.1, betas=(0.9, 0.999),
    eps=1e-8, max_grad_norm=None, chunk_tokens=128, activations="keep",
)  # fmt: skip
TEXTS = ["tide", "moon of the sea " * 40, "answer token loss query"]


@pytest.mark.parametrize(
    ("family", "pooling"),
    [
        ("mistral", LastToken("last_token")),
        ("qwen3", Mean("mean")),
        ("bert", Cls("cls")),
        ("xlmr", WeightedMean("weighted_mean")),
    ],
)
def test_sentence_transformers_gives_the_same_vectors(
    family: str, pooling: Any, models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    lora = Lora("lora", 4, 8, 0.1, "all-linear")
    spec = TrainingSpec(backbone(family), pooling, "native", lora, Natural("natural"), 32, "float32", PLAN, 0)
    (tmp_path / "adapter").mkdir()
    train(spec, pairs_file, (), tmp_path / "adapter", str(models_root), "cpu", silent, {})
    encoder = EncoderSpec(spec.backbone, pooling, "native", 32, normalize=True, dtype="float32", chunk_tokens=128)
    export(encoder, [tmp_path / "adapter"], {"query": "Find: ", "document": ""}, str(models_root), tmp_path / "st")

    assert stated(tmp_path / "st") == pooling

    ours = load_encoder(encoder, [tmp_path / "adapter"], str(models_root), "cpu")
    theirs = SentenceTransformer(str(tmp_path / "st"), device="cpu")

    assert (ours.encode(TEXTS) * theirs.encode(TEXTS)).sum(1).min() > 0.99999
    prompted = theirs.encode(["tide"], prompt_name="query")
    assert (ours.encode(["Find: tide"]) * prompted).sum() > 0.99999


def test_an_attention_that_others_would_drop_is_refused(
    models_root: Path, backbone: Callable[[str], Folder], tmp_path: Path
) -> None:
    spec = EncoderSpec(
        backbone("mistral"), Mean("mean"), "bidirectional", 32, normalize=True, dtype="float32", chunk_tokens=128
    )

    with pytest.raises(ExportError, match="bidirectional"):
        export(spec, [], {}, str(models_root), tmp_path / "st")


HOSTILE = "<script>alert(1)</script> [x](http://evil) | `a` **b** # c\n- d"
LORA = Lora("lora", 4, 8, 0.1, "all-linear")
SCORES = TaskScores("QuickSTS", "STS", "cosine_spearman", "2.26", "r",
                    (SubsetScore("test", "default", ("eng-Latn",), 0.4321, {"cosine_spearman": 0.4321}, 150),))  # fmt: skip


def store_of(
    runtime: Runtime, backbone: Folder, made: list[Pair], adapters: list[Adapter], positions: Positions | None = None
) -> tuple[Store, Step]:
    """A store in which a sweep `q` with one run has trained (a chain of adapters) and judged one task of two."""
    store = Store(runtime.store_path)

    def write(_: Any, work: Work) -> None:
        write_pairs(work.out / "pairs.parquet", made)

    mix, steps = Step("mix", 1, {"of": "test"}), dict[str, Step]()
    store.realize(mix, write, runtime)
    for name, adapter in zip(("pretrain", "finetune")[-len(adapters) :], adapters, strict=True):
        spec = TrainingSpec(backbone, Mean("mean"), "native", adapter, Natural("natural"), 32, "float32", PLAN, 0)
        spec = replace(spec, positions=positions) if positions else spec
        steps[name] = Step(name, 1, spec, {"pairs": mix, **steps})
        store.realize(steps[name], train_weights, runtime)
    encoder = EncoderSpec(backbone, Mean("mean"), "native", 32, normalize=True, dtype="float32", chunk_tokens=64)
    refs = {}
    for task in ("QuickSTS", "QuickBitext"):
        judged = TaskSpec(task, "STS", "quick", "d", "r", "0", ("test",), ("default",), "Find texts alike.", "2.26", "m")
        step = Step("evaluate", 1, EvaluateSpec(encoder, Natural("natural"), judged), steps)
        refs[f"evaluate/{task}"] = step
    store.realize(refs["evaluate/QuickSTS"], lambda _, work: write_scores(work.out / SCORES_FILE, SCORES), runtime)
    asked = {label: StepRef(step.name, step.fingerprint) for label, step in {"mix": mix, **steps, **refs}.items()}
    write_sweep(store.root, SweepRecord("q", "0" * 8, "?", "mean", (), "tasks", None, "base", (0,), "", (),
                                        (ArmRecord("base", (), ""),), (RunRecord("base", 0, asked),)))  # fmt: skip
    return store, steps["finetune"]


@pytest.fixture
def pairs(make_pairs: Callable[..., list[Pair]]) -> list[Pair]:
    """Forty pairs, and one by somebody who means harm."""
    return [
        *make_pairs(39),
        Pair("sts", "English", "English", "made", HOSTILE, HOSTILE, f"{HOSTILE} answer", (HOSTILE + " no",)),
    ]


def test_a_run_becomes_a_folder_that_sentence_transformers_loads(
    models_root: Path, backbone: Callable[[str], Folder], pairs: list[Pair], runtime: Runtime, tmp_path: Path
) -> None:
    """By the command, from the name of a run; full pre-training beneath an adapter, under another rotary base."""
    from sentence_transformers import SentenceTransformer

    runtime = replace(runtime, models=str(models_root))
    store, step = store_of(runtime, backbone("mistral"), pairs, [Full("none"), LORA], Positions(1e5, None))
    command = [sys.executable, "-m", "models.export", "q", str(tmp_path / "st"), "--store", runtime.store]
    done = subprocess.run([*command, "--models", str(models_root)], capture_output=True, text=True, check=False)
    again = subprocess.run([*command, "--models", str(models_root)], capture_output=True, text=True, check=False)
    homeless = subprocess.run([*command[:-4], "q:base:0", str(tmp_path / "no"), *command[-2:]], capture_output=True, text=True,
                              check=False)  # fmt: skip
    trained = find(store.root, str(store.folder(step)))
    ours = load_encoder(encoder_of(trained), trained.checkpoints, str(models_root), "cpu")
    theirs = SentenceTransformer(str(tmp_path / "st"), device="cpu")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("q@00000000:base:0 as sentence-transformers in ")
    assert (ours.encode(TEXTS) * theirs.encode(TEXTS)).sum(1).min() > 0.99999
    prompted = theirs.encode(["tide"], prompt_name="QuickSTS")
    assert (ours.encode(["Instruct: Find texts alike.\nQuery: tide"]) * prompted).sum() > 0.99999
    assert (again.returncode, again.stderr) == (1, f"export: {tmp_path / 'st'} exists; name another folder, or move it away\n")
    assert homeless.returncode == 1
    assert "--models says where local models lie" in homeless.stderr


def test_the_card_says_what_the_records_say_and_no_stranger_speaks_in_it(
    models_root: Path, backbone: Callable[[str], Folder], pairs: list[Pair], runtime: Runtime, tmp_path: Path
) -> None:
    runtime = replace(runtime, models=str(models_root))
    store, step = store_of(runtime, backbone("bert"), pairs[-3:], [LORA])
    export_run(find(store.root, "q:base"), "merged", str(models_root), tmp_path / "merged")
    card = (tmp_path / "merged" / "README.md").read_text(encoding="utf-8")
    told = json.loads((store.payload(step) / "training.json").read_text())

    assert "| QuickSTS | STS | cosine&#95;spearman | 43.21 | 150 |" in card
    assert "Not judged yet: QuickBitext." in card
    assert "3 pairs, " in card
    assert f"{told['trainable_parameters']:,} trained parameters" in card
    assert store.record(step).digest in card
    assert "alert(1)" in card, "premise: the hostile pair is among the examples"
    assert not re.search(r"<\w|\]\(|https?:|\*\*|\| `|\n- d", card.split("## Data")[1])


def test_merged_and_adapter_load_in_other_hands(
    models_root: Path, backbone: Callable[[str], Folder], pairs: list[Pair], runtime: Runtime, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModel, AutoTokenizer

    runtime = replace(runtime, models=str(models_root))
    store, _ = store_of(runtime, backbone("llama"), pairs, [LORA])
    trained = find(store.root, "q@0000")
    for kind in ("merged", "adapter"):
        export_run(trained, kind, str(models_root), tmp_path / kind)
    ours = load_encoder(encoder_of(trained), trained.checkpoints, str(models_root), "cpu").encode(TEXTS)
    base = AutoModel.from_pretrained(models_root / "llama", dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    merged = AutoModel.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()

    for model, folder in ((merged, "merged"), (adapted, "adapter")):
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / folder)
        for text, expected in zip(TEXTS, ours, strict=True):
            ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=32)["input_ids"]
            with torch.no_grad():
                vector = torch.nn.functional.normalize(model(input_ids=ids).last_hidden_state.mean(1), dim=1)
            assert float(vector @ torch.tensor(expected)) > 0.99999


def test_what_a_format_cannot_carry_and_what_is_missing_is_said(
    models_root: Path, backbone: Callable[[str], Folder], pairs: list[Pair], runtime: Runtime, tmp_path: Path
) -> None:
    runtime = replace(runtime, models=str(models_root))
    store, step = store_of(runtime, backbone("bert"), pairs, [Full("none"), LORA])
    trained, folder, root = find(store.root, "q"), store.folder(step), str(models_root)
    with pytest.raises(ExportError, match="pre-trained here; nobody else has them"):
        export_run(trained, "adapter", root, tmp_path / "no")
    with pytest.raises(ExportError, match="no adapter; use --format merged"):
        export_run(replace(trained, checkpoints=trained.checkpoints[:1]), "adapter", root, tmp_path / "no")
    for name, message in (("q:nobody", r"runs of q@00000000 are base:0"), ("q:base:7", "are base:0"), ("other", "no sweep"),
                          (str(store.root / "mix" / trained.pairs.parent.name), "a mix step has no weights")):  # fmt: skip
        with pytest.raises(TrainedError, match=message):
            find(store.root, name)
    run = read_sweep(find_sweep(store.root, "q")).runs[0]
    merged = replace(run, arm="both", steps={**run.steps, "merge": StepRef("merge", "0" * 20)})
    write_sweep(store.root, replace(read_sweep(find_sweep(store.root, "q")), id="1" * 8, runs=(merged,)))
    with pytest.raises(TrainedError, match="export the runs that it merges"):
        find(store.root, "q@1:both")
    weights = folder / PAYLOAD / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    shutil.rmtree(trained.checkpoints[0].parent)
    with pytest.raises(TrainedError) as refused:
        find(store.root, "q@0")

    assert "adapter_model.safetensors: its bytes are not those of the record" in str(refused.value)
    assert f"{trained.checkpoints[0].parent} is missing" in str(refused.value)
    assert not (tmp_path / "no").exists()
    shutil.rmtree(folder)
    with pytest.raises(TrainedError, match="is not built yet"):
        find(store.root, "q@0")
