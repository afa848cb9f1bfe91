"""The same seed gives the same bytes; what was trained is what is loaded; what cannot be trained says so."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.identity import folder_digests
from harness.instructions import Natural, NoInstruction, render
from harness.pairs import Pair, write_pairs
from harness.step import silent
from models.adapter import CheckpointError, Full, Lora
from models.backbone import Folder
from models.batches import Mixed
from models.encoder import EncoderSpec, load_encoder
from models.losses import InfoNce
from models.optimize import learning_rate
from models.pooling import LastToken, Mean
from models.progress import STATE_FILE, Resume
from models.train import TrainingError, TrainingSpec, TrainSpec, train

PLAN = TrainSpec(
    kind="contrastive", loss=InfoNce("info_nce", 0.05, (), "joint", None, ()), sampler=Mixed("mixed"), batch_size=8,
    negatives=1, steps=3, learning_rate=5e-3, warmup_steps=1, schedule="linear", weight_decay=0.1, betas=(0.9, 0.999),
    eps=1e-8, max_grad_norm=None, chunk_tokens=128, activations="keep",
)  # fmt: skip
LORA = Lora("lora", 4, 8, 0.1, "all-linear")
TEXTS = ["tide", "moon of the sea", "answer token loss query"]


def spec_of(backbone: Folder, **changes: Any) -> TrainingSpec:
    base = TrainingSpec(backbone, LastToken("last_token"), "native", LORA, Natural("natural"), 32, "float32", PLAN, 0)
    return replace(base, **changes)


def run(spec: TrainingSpec, pairs: Path, out: Path, root: Path, checkpoints: tuple[Path, ...] = ()) -> Path:
    out.mkdir(parents=True)
    train(spec, pairs, checkpoints, out, str(root), "cpu", silent, {})
    return out


def vectors(spec: TrainingSpec, checkpoints: list[Path], root: Path, dtype: Any = "float32") -> Any:
    encoder = EncoderSpec(spec.backbone, spec.pooling, spec.attention, spec.max_length, True, dtype, 128)
    return load_encoder(encoder, checkpoints, str(root), "cpu").encode(TEXTS)


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("adapter", [LORA, Full("none")], ids=["lora", "full"])
def test_trap_48_three_steps_save_load_the_same_vectors_each_time(
    family: str, adapter: Any, models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    """No dropout is left on after loading: the same text gives the same vector again and again."""
    spec = spec_of(backbone(family), adapter=adapter)
    out = run(spec, pairs_file, tmp_path / "out", models_root)

    trained, untrained = vectors(spec, [out], models_root), vectors(spec, [], models_root)

    assert np.abs(trained - untrained).max() > 1e-3
    for _ in range(2):
        np.testing.assert_array_equal(trained, vectors(spec, [out], models_root))
    assert len(metrics(out)) == 3


@pytest.mark.parametrize("adapter", [LORA, Full("none")], ids=["lora", "full"])
def test_trap_39_and_45_the_same_seed_gives_the_same_bytes_whatever_went_before(
    adapter: Any, models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    import torch

    spec = spec_of(backbone("mistral"), adapter=adapter)
    first = run(spec, pairs_file, tmp_path / "first", models_root)
    torch.manual_seed(42)  # what `import mteb` and every task do
    torch.rand(7)
    vectors(spec, [first], models_root)
    torch.set_grad_enabled(False)
    try:
        before = torch.get_rng_state()
        again = run(spec, pairs_file, tmp_path / "again", models_root)
        after = torch.get_rng_state()
    finally:
        torch.set_grad_enabled(True)
    other = run(replace(spec, seed=1), pairs_file, tmp_path / "other", models_root)

    assert folder_digests(first) == folder_digests(again)
    assert torch.equal(before, after), "training left the process's generator as it was"
    weights = "model.safetensors" if isinstance(adapter, Full) else "adapter_model.safetensors"
    for name in (weights, "metrics.jsonl"):
        assert folder_digests(first)[name] != folder_digests(other)[name]


class _Killed(Exception):  # noqa: N818
    """A run that ends here."""


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("adapter", [LORA, Full("none")], ids=["lora", "full"])
def test_killed_and_resumed_ends_bit_identical(
    adapter: Any, kills: int, models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    """Seeded moments, dropout on, an evaluation in between (trap 45)."""
    spec = spec_of(backbone("mistral"), adapter=adapter, train=replace(PLAN, steps=12))
    undisturbed = folder_digests(run(spec, pairs_file, tmp_path / "undisturbed", models_root))
    moments = np.random.Generator(np.random.PCG64(0)).integers(1, 12, size=kills)
    for number, moment in enumerate(moments):
        resume = Resume(tmp_path / f"state{number}", seconds=0)

        def kill(done: int, total: int, note: str = "", moment: int = int(moment)) -> None:
            if done == moment:
                raise _Killed

        out = tmp_path / f"out{number}"
        out.mkdir()
        with pytest.raises(_Killed):
            train(spec, pairs_file, (), out, str(models_root), "cpu", kill, {}, resume)
        assert not list(out.iterdir())
        vectors(spec, [], models_root)
        train(spec, pairs_file, (), out, str(models_root), "cpu", silent, {}, resume)
        assert folder_digests(out) == undisturbed, f"killed after step {moment}"
        assert not (resume.folder / STATE_FILE).exists()


def test_a_state_is_taken_up_and_another_runs_is_not(
    models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    spec, seen = spec_of(backbone("mistral")), []

    def kill(done: int, total: int, note: str = "") -> None:
        seen.append(done)
        if done == 2:
            raise _Killed

    def attempt(one: TrainingSpec, report: Any, name: str) -> Path:
        (tmp_path / name).mkdir()
        train(one, pairs_file, (), tmp_path / name, str(models_root), "cpu", report, {}, Resume(tmp_path / "state", 0))
        return tmp_path / name

    with pytest.raises(_Killed):
        attempt(spec, kill, "killed")
    state = (tmp_path / "state" / STATE_FILE).read_bytes()
    attempt(spec, lambda done, total, note="": seen.append(done), "resumed")
    (tmp_path / "state" / STATE_FILE).write_bytes(state)
    other = attempt(replace(spec, seed=1), lambda done, total, note="": seen.append(done), "other")

    assert seen == [1, 2, 3, 1, 2, 3]
    assert folder_digests(other) == folder_digests(run(replace(spec, seed=1), pairs_file, tmp_path / "fresh", models_root))


def test_activations_change_no_curve(
    models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    spec = spec_of(backbone("mistral"))
    kept = run(spec, pairs_file, tmp_path / "kept", models_root)
    cached = run(replace(spec, train=replace(PLAN, activations="recompute")), pairs_file, tmp_path / "c", models_root)

    for one, two in zip(metrics(kept), metrics(cached), strict=True):
        assert one == pytest.approx(two, rel=1e-4)


def test_trap_09_the_strings_of_a_training_batch(
    models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path,
    make_pairs: Callable[..., list[Pair]],
) -> None:  # fmt: skip
    out = run(spec_of(backbone("mistral")), pairs_file, tmp_path / "out", models_root)
    training = json.loads((out / "training.json").read_text())
    by_query = {render(Natural("natural"), p.task_type, "query", p.instruction, p.query): p for p in make_pairs(40)}

    assert len(training["preview"]) == 3
    for row in training["preview"]:
        pair = by_query[row["query"]]
        assert row["query"].startswith("Instruct: Find the answer.\nQuery: ")
        side = "Instruct: Find the answer.\nQuery: " if pair.task_type == "sts" else ""
        assert row["documents"] == [side + text for text in (pair.positive, *pair.negatives[:1])]


def test_trap_08_documents_carry_no_instruction() -> None:
    form = Natural("natural")

    assert render(form, "short_long", "document", "Find.", "tide") == render(form, "short_long", "document", "", "tide")
    assert render(form, "short_long", "query", "Find.", "tide") != "tide"


def test_trap_10_and_01_probes_are_what_the_encoder_sees(
    models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    """One function renders for training and evaluation, one tokenizer serves both."""
    spec = spec_of(backbone("mistral"))
    out = run(spec, pairs_file, tmp_path / "out", models_root)
    probes = json.loads((out / "training.json").read_text())["probes"]
    encoder = load_encoder(
        EncoderSpec(spec.backbone, spec.pooling, spec.attention, 32, True, "float32", 128), [out], str(models_root), "cpu"
    )

    assert [probe["ids"] for probe in probes] == [encoder.token_ids(probe["text"]) for probe in probes]
    assert probes[0]["text"] == "Instruct: Given a question, retrieve passages that answer it.\nQuery: how do tides work"
    assert {(probe["ids"][0], probe["ids"][-1]) for probe in probes} == {(1, 2)}
    assert len(probes[2]["ids"]) == 32


def test_trap_25_trainable_parameters_stand_as_the_ranks_do(
    models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    found = {}
    for rank in (2, 4, 16):
        out = run(spec_of(backbone("mistral"), adapter=replace(LORA, rank=rank)), pairs_file, tmp_path / str(rank), models_root)
        found[rank] = json.loads((out / "training.json").read_text())
        tensors = load_file(out / "adapter_model.safetensors")
        assert sum(value.size for value in tensors.values()) == found[rank]["trainable_parameters"]
        assert all(np.abs(value).max() > 0 for name, value in tensors.items() if "lora_B" in name)

    assert [found[r]["trainable_parameters"] / found[2]["trainable_parameters"] for r in (2, 4, 16)] == [1, 2, 8]
    assert all(entry["norm_end"] != entry["norm_start"] > 0 for entry in found.values())


def test_trap_25_an_adapter_that_does_not_fit_is_an_error(
    models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file, save_file

    spec = spec_of(backbone("mistral"))
    out = run(spec, pairs_file, tmp_path / "out", models_root)
    tensors = load_file(out / "adapter_model.safetensors")
    save_file(dict(list(tensors.items())[1:]), out / "adapter_model.safetensors")

    with pytest.raises(CheckpointError, match="1 adapter tensors missing"):
        vectors(spec, [out], models_root)
    (out / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors: corrupt"):
        vectors(spec, [out], models_root)
    (out / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="neither"):
        vectors(spec, [out], models_root)


def test_trap_07_any_peft_reads_the_adapter(
    models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    """The same vectors through peft's own loading."""
    import torch
    from peft import PeftModel
    from transformers import AutoModel

    spec = spec_of(backbone("mistral"))
    out = run(spec, pairs_file, tmp_path / "out", models_root)
    base = AutoModel.from_pretrained(models_root / "mistral", dtype=torch.float32)
    theirs = PeftModel.from_pretrained(base, out).eval()
    encoder = EncoderSpec(spec.backbone, spec.pooling, "native", 32, True, "float32", 128)
    ours = load_encoder(encoder, [out], str(models_root), "cpu")

    for text in TEXTS:
        with torch.no_grad():
            state = theirs(input_ids=torch.tensor([ours.token_ids(text)]), use_cache=False).last_hidden_state[:, -1]
        expected = torch.nn.functional.normalize(state, dim=1).numpy()
        np.testing.assert_allclose(ours.encode([text]), expected, atol=1e-5)
    assert str(models_root) not in (out / "adapter_config.json").read_text()


def test_training_goes_on_from_checkpoints(
    models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    """Full pre-training, then an adapter; and an adapter on an adapter: each is loaded on what it was trained on."""
    full, lora = spec_of(backbone("mistral"), adapter=Full("none")), spec_of(backbone("mistral"))
    one = run(full, pairs_file, tmp_path / "one", models_root)
    two = run(lora, pairs_file, tmp_path / "two", models_root, (one,))
    three = run(lora, pairs_file, tmp_path / "three", models_root, (one, two))
    chain = [vectors(lora, paths, models_root) for paths in ([], [one], [one, two], [one, two, three])]

    for before, after in itertools.pairwise(chain):
        assert np.abs(before - after).max() > 1e-3
    assert metrics(two)[0]["loss"] != metrics(three)[0]["loss"]


def test_trap_27_merging_happens_in_float32(
    models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    """An adapter below another is merged before the cast: as close to float32 as one that was never merged."""
    spec = spec_of(backbone("mistral"), train=replace(PLAN, steps=8, learning_rate=2e-2))
    one = run(spec, pairs_file, tmp_path / "one", models_root)
    still = run(replace(spec, train=replace(PLAN, learning_rate=1e-12)), pairs_file, tmp_path / "still", models_root, (one,))
    exact = vectors(spec, [one], models_root)

    unmerged = (exact * vectors(spec, [one], models_root, "bfloat16")).sum(1).min()
    merged = (exact * vectors(spec, [one, still], models_root, "bfloat16")).sum(1).min()

    assert unmerged < 1
    assert 1 - merged < 3 * (1 - unmerged)


def test_bfloat16_keeps_adapters_and_full_weights_in_float32(
    models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    for adapter, file in ((LORA, "adapter_model.safetensors"), (Full("none"), "model.safetensors")):
        spec = spec_of(backbone("mistral"), adapter=adapter, dtype="bfloat16")
        out = run(spec, pairs_file, tmp_path / file, models_root)
        tensors = load_file(out / file)
        assert {value.dtype for value in tensors.values()} == {torch.float32}
        low = sum(int((v.view(torch.int32) & 0xFFFF).ne(0).sum()) for v in tensors.values())
        assert low > 0, "weights that moved in float32 do not fit bfloat16"


def test_the_loss_falls_and_accuracy_rises(
    models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    plan = replace(PLAN, steps=40, batch_size=16, warmup_steps=4)
    out = run(spec_of(backbone("mistral"), pooling=Mean("mean"), instruction=NoInstruction("none"), train=plan), pairs_file,
              tmp_path / "out", models_root)  # fmt: skip
    rows = metrics(out)

    assert np.mean([row["loss"] for row in rows[-5:]]) < 0.5 * rows[0]["loss"]
    assert np.mean([row["accuracy"] for row in rows[-5:]]) > rows[0]["accuracy"] + 0.3
    assert all(0 <= row["padding"] < 1 and row["tokens"] > 0 and row["grad_norm"] > 0 for row in rows)


def test_a_loss_that_is_not_finite_names_step_and_pairs(
    models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path,
    make_pairs: Callable[..., list[Pair]],
) -> None:  # fmt: skip
    plan = replace(PLAN, learning_rate=1e30, warmup_steps=0, schedule="constant", steps=20)

    with pytest.raises(TrainingError, match=r"step \d+: loss .*pairs ([0-9a-f]{20}).*[Ll]ower learning_rate") as error:
        run(spec_of(backbone("mistral"), train=plan), pairs_file, tmp_path / "out", models_root)

    assert any(pair.identity in str(error.value) for pair in make_pairs(40))
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_no_pairs_is_an_error(models_root: Path, backbone: Callable[[str], Folder], tmp_path: Path) -> None:
    write_pairs(tmp_path / "none.parquet", [])

    with pytest.raises(TrainingError, match="no pairs; widen the mix"):
        run(spec_of(backbone("mistral")), tmp_path / "none.parquet", tmp_path / "out", models_root)


def test_the_rate_rises_and_falls_as_scheduled() -> None:
    plan = replace(PLAN, steps=10, warmup_steps=4, learning_rate=1.0)
    rates = {name: [learning_rate(replace(plan, schedule=name), step) for step in range(10)]  # type: ignore[arg-type]
             for name in ("linear", "cosine", "constant")}  # fmt: skip

    assert all(found[:5] == [0.25, 0.5, 0.75, 1.0, 1.0] for found in rates.values())
    assert rates["linear"][5:] == pytest.approx([5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert rates["cosine"][7] == pytest.approx(0.5)
    assert rates["constant"][5:] == [1.0] * 5
