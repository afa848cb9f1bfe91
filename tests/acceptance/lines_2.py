"""The lines of issue 2: the quickstart."""

from tests.acceptance.line import Line

LINES = (
    Line(2, 1, "a clone with an empty cache: make sweep, make test, and a second make sweep that builds nothing",
         ("python", "-m", "tests.acceptance.fresh_clone")),
    Line(2, 2, "ten kill -9, each followed by a rerun: every payload digest equals the undisturbed run's",
         ("python", "-m", "tests.acceptance.kills")),
    Line(2, 3, "all-MiniLM-L6-v2 by our encoder within 0.05 points of published on six tasks",
         ("python", "-m", "tests.acceptance.published")),
    Line(2, 4, "every arm changes the steps it should; parameters stand as ranks do; norms and losses move",
         ("python", "-m", "tests.acceptance.arms")),
    Line(2, 5, "traps 1 to 11, 21 to 25, 28, 31, 36, 43 to 45, 48 to 50 as tests named after their numbers",
         ("python", "-m", "tests.acceptance.traps")),
    Line(2, 6, "make check: linter, types, floors, tests", ("make", "check")),
    Line(2, 7, "README, LOG and LICENSE say what they must", ("python", "-m", "tests.acceptance.papers")),
)  # fmt: skip
