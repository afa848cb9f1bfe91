"""The lines of issue 3: the sweep engine."""

from tests.acceptance.line import Line, pytest

LINES = (
    Line(3, 5, "every arm of every shipped ablation composes, decodes, previews, changes a step; their number asserted",
         pytest("tests/sweeps/test_shipped_ablations.py")),
)  # fmt: skip
