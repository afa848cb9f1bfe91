"""The front door: `python -m harness [-m] [overrides]`.

Hydra needs an absolute path to conf/, hence the one import upwards.
"""

from pathlib import Path

from sweeps.run import main

if __name__ == "__main__":
    main(Path(__file__).resolve().parent.parent / "conf")
