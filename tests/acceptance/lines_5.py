"""The lines of issue 5: evaluation that cannot lie."""

from tests.acceptance.line import Line, pytest

STORE = "tests/harness/test_embeddings_evaluation.py"

LINES = (
    Line(5, 1, "every task with real data: all-MiniLM-L6-v2 by our encoder within 0.05 points of published",
         pytest("-s", "tests/harness/test_evaluate_published.py")),
    Line(5, 2, "main scores from item files alone; the same bytes twice, shuffled, beside another model, batches of 1 and 64",
         pytest("tests/harness/test_evaluate_same.py", "tests/harness/test_items.py")),
    Line(5, 3, "traps 28 to 50, each by its number, and mteb's text mock tasks through our encoder",
         ("python", "-m", "tests.acceptance.traps", *(str(number) for number in range(28, 51)), "mock_tasks")),
    Line(5, 4, "kill -9, a damaged shard, two evaluations at once, 50 MB under a load of 200: no payload changes",
         pytest(STORE, "-k", "leave_every_payload or changes_no_score")),
    Line(5, 5, "two arms that share a checkpoint encode again what one task's instruction changed, counted",
         pytest(STORE, "-k", "arms_that_share")),
    Line(5, 6, "a loopback /embeddings server as an arm beside the local model it serves: equal scores",
         ("python", "-m", "tests.acceptance.served")),
)  # fmt: skip
