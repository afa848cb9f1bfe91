"""The lines of issue 6: the generator."""

from tests.acceptance.line import Line, pytest

CONTAMINATION = "tests/generators/test_contamination.py"

LINES = (
    Line(6, 1, "200 seeded kill -9 against the faulty server: the undisturbed pairs; repeats at most what was in flight",
         pytest("-s", "tests/generators/test_kills.py", "-k", "two_hundred")),
    Line(6, 2, "max_cost never exceeded at any concurrency and over crashes, in 1,000 random schedules",
         pytest("tests/generators/test_budget.py", "-k", "thousand")),
    Line(6, 3, "the parser fuzzed: no crash, no record against its own schema; a golden prompt for each template and value",
         pytest("tests/generators/test_parse.py", "tests/generators/test_prompts.py")),
    Line(6, 4, "the recorded corpus through the full pipeline; its card and figure are the committed ones",
         ("python", "-m", "tests.acceptance.recorded")),
    Line(6, 5, "20 planted items, by method; nothing exact in 10,000 clean pairs; squad_sentences against XQuADRetrieval",
         pytest("-s", CONTAMINATION, "-k", "trap_38 or real_leak or ten_thousand")),
    Line(6, 6, "no key, wrong key, unknown model, server down: an error before any work; a canary key in no file",
         ("python", "-m", "tests.acceptance.refused")),
    Line(6, 7, "enlarging by half, then changing the language mix: requests sent are exactly the new draws",
         pytest("tests/generators/test_openai.py", "-k", "enlarging")),
)  # fmt: skip
