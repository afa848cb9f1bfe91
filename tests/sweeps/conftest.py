"""A stand-in backbone in a local folder, so that tests of the engine need no trained weights, and a quiet runtime."""

from pathlib import Path

import pytest

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.fixture
def conf() -> Path:
    """The repository's own configuration."""
    return CONF


@pytest.fixture(scope="session")
def backbone_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for `runtime.models` that holds `stand-in`: plans hash its weights, nothing loads them."""
    root = tmp_path_factory.mktemp("models")
    folder = root / "stand-in"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text('{"model_type": "mistral"}')
    return root


@pytest.fixture
def stand_in(backbone_root: Path, tmp_path: Path) -> list[str]:
    """Overrides that put the stand-in under every arm, and the store into the test's folder."""
    return [
        "model.backbone={kind: folder, name: stand-in, sha256: auto}",
        f"runtime.models={backbone_root}",
        f"runtime.store={tmp_path / 'store'}",
        f"runtime.ledger={tmp_path / 'ledger.sqlite'}",
        "runtime.tracker=disabled",
    ]
