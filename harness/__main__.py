"""The front door: `python -m harness [-m] [overrides]`. Hydra wants an absolute path to conf/ here, hence the import upwards."""

from pathlib import Path

from sweeps.run import main

if __name__ == "__main__":
    main(Path(__file__).resolve().parent.parent / "conf")
