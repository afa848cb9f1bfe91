"""Scores do not notice the store: killed, damaged, shared by two, too small. And arms share what they have in common."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.embeddings import StoredEncoder
from harness.encoder import EncodeCounts
from harness.identity import folder_digest
from harness.tasks import TaskSpec

ROOT = Path(__file__).resolve().parents[2]
JUDGED = ("QuickSTS", "QuickBitext", "QuickReranking", "QuickClassification")
EVALUATION = textwrap.dedent(
    """
    import sys, torch
    from pathlib import Path
    from harness.config import decode
    from harness.embeddings import StoredEncoder
    from harness.evaluate import evaluate
    from harness.instructions import Natural
    from harness.step import silent
    from harness.tasks import Quick, plan_tasks
    from harness.tasks.prompts import PaperPrompts
    from models.encoder import EncoderSpec, load_encoder
    from sweeps.compose import Composer

    torch.set_num_threads(1)
    root, out, names = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    model = Composer(Path("conf").resolve()).compose(["model=tiny"])["model"]
    kept = {key: model[key] for key in EncoderSpec.__dataclass_fields__}
    encoder = load_encoder(decode(EncoderSpec, kept), [], None, "cpu")
    assert encoder.steady
    if root != "none":
        encoder = StoredEncoder(encoder, Path(root), "float32", 1 << 30, 1 << 16, steady=encoder.steady)
    for spec in plan_tasks(Quick("quick", tuple(names), PaperPrompts("paper"), "2.26.24"), None):
        (out / spec.name).mkdir(parents=True)
        evaluate(spec, Natural("natural"), encoder, out / spec.name, None, silent, {})
    print(encoder.counts.texts, encoder.counts.stored)
    """
)


def evaluation(root: Path | str, out: Path, names: Sequence[str] = JUDGED) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", EVALUATION, str(root), str(out), *names]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def counts(process: subprocess.Popen[str]) -> tuple[int, int]:
    """Texts encoded and texts found, when it has ended."""
    printed = process.communicate(timeout=300)[0]
    assert process.returncode == 0
    texts, stored = map(int, printed.split())
    return texts, stored


@pytest.mark.slow
def test_a_kill_a_damaged_shard_and_two_at_once_leave_every_payload_as_it_was(tmp_path: Path) -> None:
    """Real processes, the shipped decoder: undisturbed without a store; then one store through all of it."""
    store = tmp_path / "store"
    plain_texts, _ = counts(evaluation("none", tmp_path / "plain"))
    expected = folder_digest(tmp_path / "plain")
    victim = evaluation(store, tmp_path / "victim")
    while len(list(store.rglob("*.shard"))) < 3:
        assert victim.poll() is None, "premise: killed while it evaluates"
        time.sleep(0.002)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    shard = min(store.rglob("*.shard"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x7f")
    both = [(evaluation(store, tmp_path / f"both{i}", names), names) for i, names in enumerate((JUDGED, JUDGED[::-1]))]
    spent = [counts(process) for process, _ in both]
    warm = counts(evaluation(store, tmp_path / "warm"))

    assert folder_digest(tmp_path / "both0") == folder_digest(tmp_path / "both1") == expected
    assert folder_digest(tmp_path / "warm") == expected
    assert min(texts for texts, _ in spent) < plain_texts, "premise: something was found again"
    assert warm[0] == 0


class Wide:
    """The bag of words blown up to vectors of 80 kB, so that a small benchmark is a large load."""

    def __init__(self, inner: Any, dimensions: int = 20_000) -> None:
        self.inner, self.identity, self.counts = inner, "wide", EncodeCounts()
        self.matrix = np.random.default_rng(0).normal(size=(48, dimensions)).astype(np.float32)
        self.bytes = 0

    def encode(self, texts: Sequence[str]) -> Any:
        self.counts.texts += len(texts)
        found = np.stack([row @ self.matrix for row in self.inner.encode(texts)])
        self.bytes += found.nbytes
        return found

    def token_ids(self, text: str) -> list[int]:
        return list(self.inner.token_ids(text))


def test_a_store_of_50_megabytes_under_a_load_of_200_changes_no_score(
    words: Any, quick_specs: dict[str, TaskSpec], judge: Any, tmp_path: Path
) -> None:
    names = ("QuickRetrieval", "QuickSTS", "QuickBitext", "QuickPairClassification", "QuickReranking")
    encoder = Wide(words)
    plain = [folder_digest(judge(quick_specs[name], encoder)) for name in names]
    encoder.bytes, found = 0, []
    store = StoredEncoder(encoder, tmp_path / "store", "float32", 50_000_000, 5_000_000, steady=True)
    for name in names * 2:
        found.append(folder_digest(judge(quick_specs[name], store)))
        assert sum(path.stat().st_size for path in (tmp_path / "store").rglob("*.shard")) <= 50_000_000

    assert found == plain * 2
    assert encoder.bytes > 200_000_000, "premise: the load"


@pytest.mark.parametrize("changed", ["QuickSTS", "QuickRetrieval"])
def test_arms_that_share_a_checkpoint_encode_again_what_one_instruction_changed(
    changed: str, words: Any, quick_specs: dict[str, TaskSpec], judge: Any, tmp_path: Path
) -> None:
    """Two arms over the whole quick benchmark; of a retrieval task that is its queries, of an STS task all of it."""
    names = ("QuickSTS", "QuickRetrieval", "QuickBitext", "QuickPairClassification")
    store = StoredEncoder(words, tmp_path, "float32", 1 << 30, steady=True)
    for name in names:
        judge(quick_specs[name], store)
    words.seen.clear()
    measured: dict[str, dict[str, Any]] = {name: {} for name in names}
    for name in names:
        spec = quick_specs[name]
        other = replace(spec, instruction="Another sentence.") if name == changed else spec
        judge(other, store, measured=measured[name])

    assert {name: row["texts"] > 0 for name, row in measured.items()} == {name: name == changed for name in names}
    assert words.seen
    assert all(text.startswith("Instruct: Another sentence.\nQuery: ") for text in words.seen)
    assert len(words.seen) == len(set(words.seen))
    assert measured[changed]["texts"] + measured[changed]["stored"] == measured[changed]["texts_asked"]
