"""The lines of issue 3: the sweep engine."""

from tests.acceptance.line import Line, pytest

LINES = (
    Line(3, 1, "a hundred seeded runs killed, limited and starved at random moments, then resumed: the same bytes, nobody left",
         ("python", "-m", "tests.acceptance.chaos")),
    Line(3, 2, "four sweeps started at once on one store build each shared step once; two on one (faked) GPU take turns",
         pytest("tests/sweeps/test_side_by_side.py", "tests/harness/test_garbage.py")),
    Line(3, 3, "a worker that allocates until killed, hangs, floods, fails its digest, exits with 0: reported as what it is",
         pytest("tests/sweeps/test_bad_ends.py")),
    Line(3, 4, "the preview's requests, texts and steps equal the finished quickstart's records; tokens, time near",
         ("python", "-m", "tests.acceptance.preview")),
    Line(3, 5, "every arm of every shipped ablation composes, decodes, previews, changes a step; their number asserted",
         pytest("tests/sweeps/test_shipped_ablations.py")),
    Line(3, 6, "status and preview import no torch and answer within 1 s and 5 s on a thousand runs",
         ("python", "-m", "tests.acceptance.answers")),
)  # fmt: skip
