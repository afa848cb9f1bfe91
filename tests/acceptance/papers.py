"""Line 2.7: README, LOG and LICENSE hold what a newcomer needs."""

from __future__ import annotations

from tests.acceptance.quickstart import REPOSITORY, require


def main() -> None:
    """Look for each of them."""
    readme, log, licence = ((REPOSITORY / name).read_text().replace("\\_", "_") for name in ("README.md", "LOG.md", "LICENSE"))
    for command in ("make sweep", "make test"):
        require(command in readme, f"README shows `{command}`")
    for arm in ("baseline", "synthetic_only", "natural_only", "no_pretraining", "lora_4", "lora_64", "mean_pooling",
                "weighted_mean", "no_instruction", "task_type_prefix", "english_only"):  # fmt: skip
        require(arm in readme, f"README's table has the arm {arm}")
    for room in ("conf/", "harness/", "generators/", "models/", "sweeps/", "reports/", "tests/"):
        require(room in readme, f"README's map names {room}")
    for step in ("synthesize", "mined", "mix", "pretrain", "finetune", "evaluate"):
        require(step in log, f"LOG has the time of {step}")
    require("wall" in log.lower() and "cpu" in log.lower(), "LOG has wall and CPU time")
    require("Apache License" in licence and "Version 2.0" in licence, "LICENSE is Apache-2.0")


if __name__ == "__main__":
    main()
