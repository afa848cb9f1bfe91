"""The lines of issue 7: the trainer."""

from tests.acceptance.line import Line, pytest

TRAPS = (*range(5, 28), *range(46, 49))

LINES = (
    Line(7, 1, "traps 5 to 27 and 46 to 48, each by its number",
         ("python", "-m", "tests.acceptance.traps", *map(str, TRAPS))),
    Line(7, 2, "loss and gradients equal sentence-transformers' MultipleNegativesRankingLoss and a float64 loop over pairs",
         ("python", "-m", "tests.acceptance.losses")),
    Line(7, 3, "kill -9 at twenty uniform random points: bit-identical weights; an evaluation in between changes nothing",
         pytest("-s", "tests/sweeps/test_steps.py")),
    Line(7, 4, "MiniLM fine-tuned by us and by sentence-transformers: loss curves within 1e-4, STSBenchmark within 0.1",
         ("python", "-m", "tests.acceptance.peer_training")),
    Line(7, 5, "the quickstart's baseline beats its untrained backbone in retrieval, interval excluding zero",
         ("python", "-m", "tests.acceptance.trained")),
    Line(7, 6, "every family: three steps, save, load, the same vectors",
         pytest("tests/models/test_train.py", "-k", "trap_48_three_steps")),
)  # fmt: skip
