"""Fixtures for all floors: where other people's data lies, and a runtime that keeps a test inside its own folder."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from harness.runtime import Runtime

# A shared two-core machine makes single examples slow now and then; that says nothing about the code.
settings.register_profile("harness", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("harness")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def harness_data() -> Path:
    """Folder with real MTEB data, published scores and labelled sets; the test is skipped where it is absent."""
    folder = Path(os.environ.get("HARNESS_DATA", REPOSITORY.parent / "shared" / "data")).resolve()
    if not (folder / "mteb").is_dir():
        pytest.skip(f"no data in {folder}; set HARNESS_DATA to a folder with mteb/, published/ and train/")
    return folder


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    """A runtime whose store and ledger lie in the test's own folder."""
    return Runtime(
        store=str(tmp_path / "store"),
        ledger=str(tmp_path / "ledger.sqlite"),
        device="cpu",
        workers=2,
        threads=1,
        patience=60.0,
        memory=None,
        data=None,
        models=None,
        sources=None,
        tracker="disabled",
        project="test",
    )
