"""The ledger's rows: born sent, ended once, never overwritten; merged without contradiction."""

import dataclasses
from pathlib import Path

import pytest

from generators.ledger import Ended, Ledger, LedgerError, Sent, Spent, open_ledger, read_ledger

SENT = Sent("k1", 1, "good", "{}", 100, 500, 1.0)
ANSWER = Ended("k1", 1, "answered", 10, 50, 4, 6, "stop", "hello", "{}", "good-0101", None, 0.2)


def test_a_sent_request_is_booked_at_its_reserve_until_it_ends(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "l") as ledger:
        assert ledger.spent() == Spent(0, 0)
        ledger.apply([SENT])
        assert ledger.spent() == Spent(100, 500)
        ledger.apply([ANSWER])

        assert ledger.spent() == Spent(10, 50)
        assert ledger.answered() == {"k1"}
        assert list(ledger.replies(["k1", "k1"])) == [("hello", "stop")] * 2


def test_a_crash_leaves_a_lost_request_booked_and_asked_again_as_another_attempt(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "l") as ledger:
        ledger.apply([SENT])
    with open_ledger(tmp_path / "l") as ledger:
        assert ledger.recover() == 1
        assert ledger.recover() == 0
        assert ledger.answered() == set()
        assert ledger.attempts() == {"k1": 1}
        ledger.apply([dataclasses.replace(SENT, attempt=2), dataclasses.replace(ANSWER, attempt=2)])

        assert ledger.spent() == Spent(110, 550)
        assert [row["state"] for row in ledger.rows()] == ["lost", "answered"]


def test_impossible_rows_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "l") as ledger:
        with pytest.raises(LedgerError, match="without having been sent"):
            ledger.apply([dataclasses.replace(SENT, key="k9"), ANSWER])
        assert list(ledger.rows()) == []
        ledger.apply([SENT, ANSWER])
        with pytest.raises(LedgerError, match="without having been sent"):
            ledger.apply([dataclasses.replace(ANSWER, text="another answer")])
        assert list(ledger.replies(["k1"])) == [("hello", "stop")]


def _filled(path: Path, key: str, text: str) -> None:
    with open_ledger(path) as ledger:
        ledger.apply([dataclasses.replace(SENT, key=key), dataclasses.replace(ANSWER, key=key, text=text)])


def _merge(into: Path, other: Path) -> tuple[int, int]:
    with open_ledger(into) as ledger, read_ledger(other) as source:
        return ledger.insert(source.rows())


def test_merging_takes_what_is_new_and_refuses_a_contradiction(tmp_path: Path) -> None:
    _filled(tmp_path / "a", "k1", "hello")
    _filled(tmp_path / "b", "k2", "world")

    assert _merge(tmp_path / "a", tmp_path / "b") == (1, 0)
    assert _merge(tmp_path / "a", tmp_path / "b") == (0, 1)
    _filled(tmp_path / "c", "k1", "something else")
    _filled(tmp_path / "c", "k0", "innocent")
    with pytest.raises(LedgerError, match="k1 was answered differently"):
        _merge(tmp_path / "a", tmp_path / "c")
    with read_ledger(tmp_path / "a") as ledger:
        assert ledger.answered() == {"k1", "k2"}, "a refused merge takes nothing"


def test_a_file_that_is_no_ledger_and_one_that_is_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, but long enough to be read as one" * 100)
    with pytest.raises(LedgerError, match="text: not a ledger"), open_ledger(tmp_path / "text"):
        pass
    with pytest.raises(LedgerError, match=r"there is no ledger .*gone"), read_ledger(tmp_path / "gone"):
        pass


def test_a_verdict_is_noted_beside_the_answer(tmp_path: Path) -> None:
    _filled(tmp_path / "a", "k1", "hello")
    with open_ledger(tmp_path / "a") as ledger:
        ledger.judge([("duplicate", "k1"), ("accepted", "unknown")])
        assert [row["verdict"] for row in ledger.rows()] == ["duplicate"]
        assert isinstance(ledger, Ledger)
