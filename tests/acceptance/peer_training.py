"""Line 7.4: all-MiniLM-L6-v2 fine-tuned by us and by sentence-transformers, the same in everything that is not code.

The same triples of SNLI in the same batches, the same seed, AdamW, linear decay, float32, no dropout. Loss curves must agree
within 1e-4 at every step, STSBenchmark within 0.1 points; the training must also have moved both.

    python -m tests.acceptance.peer_training [STEPS]
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from harness.encoder import EncodeCounts
from harness.evaluate import evaluate
from harness.instructions import NoInstruction
from harness.pairs import Pair, write_pairs
from harness.scores import read_scores
from harness.step import silent
from harness.tasks import Mteb, plan_tasks
from harness.tasks.prompts import PaperPrompts
from models.adapter import Full
from models.backbone import Folder, Package, locate, pin
from models.batches import Mixed, sample
from models.encoder import EncoderSpec, load_encoder
from models.losses import InfoNce
from models.pooling import Mean
from models.train import TrainingSpec, TrainSpec, train
from tests.acceptance.__main__ import SKIP
from tests.acceptance.quickstart import REPOSITORY, data_folder, require

STEPS, BATCH, RATE, DECAY, SEED, LENGTH = 60, 32, 5e-5, 0.01, 0, 128
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")


def triples(path: Path) -> list[Pair]:
    """Triples of which no text occurs twice: what equals another row's positive we mask, and the peer does not."""
    seen: set[str] = set()
    found = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            texts = [row["query"], row["positive"], *row["negatives"][:1]]
            if len(texts) == 3 and len(set(texts)) == 3 and seen.isdisjoint(texts):
                seen.update(texts)
                found.append(Pair("sts", "English", "English", "snli", "", texts[0], texts[1], (texts[2],)))
    return found


def without_dropout(root: Path) -> Folder:
    """A copy of the package's MiniLM that drops nothing, for both."""
    text = (REPOSITORY / "conf" / "model" / "minilm.yaml").read_text(encoding="utf-8")
    shutil.copytree(locate(Package(**yaml.safe_load(text)["backbone"]), None), root / "minilm")
    path = root / "minilm" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | dict.fromkeys(DROPOUTS, 0.0)), encoding="utf-8")
    pinned = pin(Folder("folder", "minilm", "auto"), str(root))
    assert isinstance(pinned, Folder)
    return pinned


def ours(backbone: Folder, pairs: list[Pair], steps: int, root: Path) -> list[float]:
    """Our loop; the losses step by step."""
    write_pairs(root / "pairs.parquet", pairs)
    plan = TrainSpec(
        "contrastive", InfoNce("info_nce", 0.05, (), "joint", None, ()), Mixed("mixed"), BATCH, 1, steps, RATE, 0, "linear",
        DECAY, (0.9, 0.999), 1e-8, None, 2048, "keep",
    )  # fmt: skip
    spec = TrainingSpec(backbone, Mean("mean"), "native", Full("none"), NoInstruction("none"), LENGTH, "float32", plan, SEED)
    (root / "ours").mkdir()
    train(spec, root / "pairs.parquet", (), root / "ours", str(root), "cpu", silent, {})
    lines = (root / "ours" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


def theirs(pairs: list[Pair], steps: int, root: Path) -> tuple[Any, list[float]]:
    """Their trainer over the same batches; the model and its losses."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from torch.utils.data import SequentialSampler

    model = SentenceTransformer(str(root / "minilm"), device="cpu")
    model.max_seq_length = LENGTH
    drawn = islice(sample(Mixed("mixed"), pairs, BATCH, SEED), steps)
    rows = [pairs[i] for batch in drawn for i in batch]
    columns = {"anchor": [p.query for p in rows], "positive": [p.positive for p in rows],
               "negative": [p.negatives[0] for p in rows]}  # fmt: skip
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(root / "peer"), max_steps=steps, per_device_train_batch_size=BATCH, learning_rate=RATE,
        lr_scheduler_type="linear", warmup_steps=0, weight_decay=DECAY, max_grad_norm=0.0, seed=SEED, logging_steps=1,
        save_strategy="no", report_to="none", use_cpu=True, disable_tqdm=True,
        batch_sampler=lambda data, **named: DefaultBatchSampler(SequentialSampler(data), **named),
    )  # fmt: skip
    loss = MultipleNegativesRankingLoss(model, scale=20.0)
    trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=Dataset.from_dict(columns), loss=loss)
    trainer.train()
    return model, [row["loss"] for row in trainer.state.log_history if "loss" in row]


class Peer:
    """Their model behind our interface, for the same evaluation."""

    def __init__(self, model: Any) -> None:
        self.identity, self.counts, self.model = "peer", EncodeCounts(), model

    def encode(self, texts: Any) -> Any:
        """Normalised vectors."""
        return self.model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)

    def token_ids(self, text: str) -> list[int]:
        """Ids with specials."""
        return [int(value) for value in self.model.tokenizer(text)["input_ids"]]


def score(encoder: Any, data: Path, out: Path) -> float:
    """STSBenchmark, 0 to 100."""
    suite = Mteb("mteb", None, ("STSBenchmark",), (), (), {}, {}, "local", PaperPrompts("paper"), "2.26.24")
    out.mkdir()
    evaluate(plan_tasks(suite, str(data))[0], NoInstruction("none"), encoder, out, str(data), silent, {})
    return 100 * read_scores(out / "scores.json").main


def main() -> None:
    """Train twice, judge three times, print the curves."""
    import torch

    steps = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS
    data = data_folder()
    if not (data / "train" / "snli_triplets.jsonl.gz").is_file():
        print(f"no data in {data}; set HARNESS_DATA to a folder with mteb/ and train/")
        sys.exit(SKIP)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="peer-training-") as folder:
        root = Path(folder)
        pairs, backbone = triples(data / "train" / "snli_triplets.jsonl.gz"), without_dropout(root)
        curve = ours(backbone, pairs, steps, root)
        model, peer_curve = theirs(pairs, steps, root)
        require(len(curve) == len(peer_curve) == steps, f"{steps} steps of {BATCH} triples out of {len(pairs)}, twice")
        apart = [abs(one - other) for one, other in zip(curve, peer_curve, strict=True)]
        for step in sorted({0, steps // 4, steps // 2, steps - 1}):
            print(f"step {step + 1}: ours {curve[step]:.6f}, sentence-transformers {peer_curve[step]:.6f}")
        spec = EncoderSpec(backbone, Mean("mean"), "native", LENGTH, normalize=True, dtype="float32", chunk_tokens=1024)
        before, after = (load_encoder(spec, checkpoints, str(root), "cpu") for checkpoints in ([], [root / "ours"]))
        scores = [score(encoder, data / "mteb", root / name)
                  for name, encoder in (("before", before), ("after", after), ("theirs", Peer(model)))]  # fmt: skip
    print(f"STSBenchmark: untrained {scores[0]:.3f}, ours {scores[1]:.3f}, sentence-transformers {scores[2]:.3f}")
    require(max(apart) < 1e-4, f"loss curves differ by {max(apart):.1e} at most")
    require(abs(scores[1] - scores[2]) < 0.1, f"STSBenchmark differs by {abs(scores[1] - scores[2]):.4f} points")
    require(abs(scores[1] - scores[0]) > 0.2, f"premise: training moved it, by {scores[1] - scores[0]:+.3f} points")


if __name__ == "__main__":
    main()
