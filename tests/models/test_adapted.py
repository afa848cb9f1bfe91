"""Somebody else's adapter: the vectors that peft itself gives, one identity for both files, and refusals that say why."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.identity import fingerprint
from models.adapted import Adapted, Judged, locate, own_folder, pin
from models.backbone import BackboneError, Folder, Hub
from models.encoder import EncoderSpec, load_encoder
from models.pooling import LastToken
from models.tokenizer import Tokenizer

TEXTS = ["tide", "the moon of the sea " * 3, "question answer", "vector query of the tide"]


def published(root: Path, base: str, *, head: bool = False, **changes: Any) -> Path:
    """An adapter as peft saves it, trained on the bare base or inside a language model, with weights that do something."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel, AutoModelForCausalLM

    model = (AutoModelForCausalLM if head else AutoModel).from_pretrained(root / base)
    settings: dict[str, Any] = {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]} | changes
    wrapped = get_peft_model(model, LoraConfig(**settings))
    generator = torch.Generator().manual_seed(0)
    for name, value in wrapped.named_parameters():
        if "lora_" in name:
            value.data = torch.randn(value.shape, generator=generator) * 0.1
    wrapped.peft_config["default"].base_model_name_or_path = base
    wrapped.save_pretrained(root / "published")
    return root / "published"


@pytest.fixture
def root(models_root: Path, tmp_path: Path) -> Path:
    """A `runtime.models` of this test's own, with one base in it."""
    shutil.copytree(models_root / "mistral", tmp_path / "org" / "base")
    return tmp_path


NAMED = Adapted("peft", Folder("folder", "published", "auto"), None)


def encoder_spec(judged: Judged) -> EncoderSpec:
    return EncoderSpec(judged, LastToken("last_token"), "causal", 64, False, "float32", 128)


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("trained", ["bare", "inside a language model"])
def test_vectors_are_those_of_peft_itself(trained: str, root: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModel, AutoModelForCausalLM

    head = trained != "bare"
    folder = published(root, "org/base", head=head)
    base = (AutoModelForCausalLM if head else AutoModel).from_pretrained(root / "org" / "base")
    oracle = PeftModel.from_pretrained(base, folder).eval()
    inner = oracle.get_base_model().model if head else oracle
    tokenizer = Tokenizer(root / "org" / "base", 64)
    with torch.inference_mode():
        expected = [inner(input_ids=torch.tensor([row.ids])).last_hidden_state[0, -1].numpy() for row in tokenizer(TEXTS)]
    found = load_encoder(encoder_spec(pin(NAMED, str(root))), [], str(root), "cpu").encode(TEXTS)
    plain = load_encoder(encoder_spec(pin(Folder("folder", "org/base", "auto"), str(root))), [], str(root), "cpu").encode(TEXTS)

    np.testing.assert_allclose(found, np.stack(expected), atol=1e-5)
    assert np.abs(found - plain).max() > 0.1, "premise: the adapter does something"


def test_the_base_is_the_one_the_adapter_names(root: Path) -> None:
    folder = published(root, "org/base")
    pinned = pin(NAMED, str(root))
    change(folder / "adapter_config.json", revision="c" * 40)
    committed = pin(NAMED, str(root))

    assert isinstance(pinned, Adapted)
    assert isinstance(pinned.base, Folder)
    assert (pinned.base.name, len(pinned.base.sha256), len(pinned.adapter.settings)) == ("org/base", 64, 64)  # type: ignore[union-attr]
    assert pin(pinned, str(root)) == pinned
    assert own_folder(committed, str(root)) == folder
    assert isinstance(committed, Adapted)
    assert committed.base == Hub("hub", "org/base", "c" * 40), "a commit says more than a copy that lies there"


@pytest.mark.parametrize("changed", ["adapter_model.safetensors", "adapter_config.json", "base"])
def test_an_identity_covers_adapter_and_base(changed: str, root: Path, models_root: Path) -> None:
    folder = published(root, "org/base")
    before = pin(NAMED, str(root))
    if changed == "base":
        shutil.copyfile(models_root / "llama" / "config.json", root / "org" / "base" / "config.json")
    elif changed == "adapter_config.json":
        change(folder / changed, lora_alpha=8)
    else:
        data = bytearray((folder / changed).read_bytes())
        data[-1] ^= 1
        (folder / changed).write_bytes(data)

    with pytest.raises(BackboneError, match=r"has SHA-256 .* the spec says"):
        locate(before, str(root))
    assert fingerprint(pin(NAMED, str(root))) != fingerprint(before)


def test_a_copy_stands_for_an_adapter_in_the_hub(root: Path) -> None:
    shutil.move(published(root, "org/base"), root / "org" / "adapter")
    judged = replace(NAMED, adapter=Hub("hub", "org/adapter", "a" * 40))

    assert locate(pin(judged, str(root)), str(root)) == (root / "org" / "base", (root / "org" / "adapter",))


def test_what_cannot_be_judged_is_refused_with_a_remedy(root: Path) -> None:
    folder = published(root, "org/base")
    config, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    good = config.read_text()

    def refusal(**values: Any) -> str:
        config.write_text(good)
        change(config, **values)
        with pytest.raises(BackboneError) as refused:
            pin(NAMED, str(root))
        return str(refused.value)

    assert "peft_type 'IA3'; LORA is read" in refusal(peft_type="IA3")
    assert "which changed its base" in refusal(init_lora_weights="pissa_niter_4")
    assert "put a copy into runtime.models/org/other, or write backbone.base" in refusal(base_model_name_or_path="org/other")
    assert "names no base_model_name_or_path" in refusal(base_model_name_or_path=None)
    config.write_text("[]")
    with pytest.raises(BackboneError, match="is not a peft configuration"):
        pin(NAMED, str(root))
    weights.rename(folder / "adapter_model.bin")
    with pytest.raises(BackboneError, match="which is a pickle and is never opened"):
        pin(NAMED, str(root))


def test_an_adapter_with_tokens_of_its_own_is_refused(root: Path) -> None:
    folder = published(root, "org/base")
    shutil.copyfile(root / "org" / "base" / "tokenizer.json", folder / "tokenizer.json")
    pin(NAMED, str(root))
    tokens = json.loads((folder / "tokenizer.json").read_text())
    tokens["added_tokens"][0]["content"] = "<other>"
    (folder / "tokenizer.json").write_text(json.dumps(tokens))

    with pytest.raises(BackboneError, match="differ in added_tokens; an adapter with tokens of its own is judged merged"):
        pin(NAMED, str(root))
