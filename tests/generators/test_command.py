"""`python -m generators`: what it writes, how it answers bad input, and the ledger's commands."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from generators.__main__ import main
from generators.card import card, figure
from generators.ledger import read_ledger
from generators.statistics import Statistics, measure
from harness.pairs import read_pairs

# The server's answers are 30 words long, whatever is asked.
ANY_LENGTH = ["generator.filters.shortest=0.01", "generator.filters.longest=1000", "generator.filters.language=null"]
RATES = ["runtime.server.requests_per_minute=null", "runtime.server.tokens_per_minute=null", "runtime.server.concurrency=8"]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generated") / "corpus"
    assert main(["-o", str(out), "generator.draws.limit=400"]) == 0
    return out


def test_generation_writes_pairs_card_and_figure(generated: Path) -> None:
    found = measure(generated)
    text = (generated / "card" / "README.md").read_text()
    bars = ET.fromstring((generated / "card" / "figure2.svg").read_text()).findall("{http://www.w3.org/2000/svg}rect")  # noqa: S314

    assert len(read_pairs(generated / "pairs.parquet")) == found.accepted == 400
    assert "400 pairs out of 400 answers (100.0 %)" in text
    assert len(bars) == 1 + 2 + 2 * (6 + 15)
    assert re.search(r"short_long \| query_length \| less than 5 words \| \d+ \| 100\.0 \| \d", text)


def test_the_same_corpus_has_the_same_card(generated: Path, tmp_path: Path) -> None:
    assert main(["card", str(generated), "-o", str(tmp_path)]) == 0
    for name in ("README.md", "figure2.svg"):
        assert (tmp_path / name).read_bytes() == (generated / "card" / name).read_bytes()


def test_the_export_is_a_folder_that_datasets_reads(generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["export", str(generated), "-o", str(tmp_path / "hub")]) == 0
    from datasets import load_dataset

    rows = load_dataset(str(tmp_path / "hub"), split="train", cache_dir=str(tmp_path / "cache"))

    assert len(rows) == 400
    assert rows[0]["query"] == read_pairs(generated / "pairs.parquet")[0].query


def test_hostile_values_cannot_leave_their_cell() -> None:
    found = Statistics(verdicts=Counter({"accepted": 1}), by_type={"a|b": Counter(accepted=1)})

    assert "a\\|b" in card(found, 0.5)
    ET.fromstring(figure(found))  # noqa: S314  our own markup


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["generator=opnai"], 4, "opnai"),
        (["generator.filters.shortest=-1"], 4, "generator.filters.shortest: -1"),
        (["generator.templates=[plain/sts@9]"], 4, "plain/sts@1"),
        (["preview", "generator=openai"], 4, "runtime/server=openai"),
        (["ledger", "stats", "runtime.ledger=/nonexistent/l.sqlite"], 1, "there is no ledger"),
        (["ledger", "merge"], 4, "needs a FILE"),
        (["card", "/nonexistent"], 4, "holds no generated corpus"),
        (["generator=openai", "runtime/server=openai", "runtime.server.key_variable=NO_KEY_HERE"], 1, "NO_KEY_HERE"),
    ],
)
def test_bad_input_is_named_and_ends_with_its_code(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    here = [] if words[0] in {"card", "preview", "ledger"} else ["-o", str(tmp_path / "out"), f"runtime.ledger={tmp_path}/l"]

    assert main([*words, *here]) == code
    assert message in capsys.readouterr().err


def test_a_preview_counts_what_a_run_then_sends(
    start_server: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start_server()
    words = [
        "generator=openai", "runtime/server=local", f"runtime.server.base_url={server.url}", *RATES,
        f"runtime.ledger={tmp_path}/ledger.sqlite", "generator.backend.models=[{name: good, share: 1.0}]",
        *ANY_LENGTH,
    ]  # fmt: skip

    def previewed(size: int) -> list[int]:
        assert main(["preview", *words, f"generator.draws.size={size}"]) == 0
        numbers = re.match(r"([\d,]+) answers are held, ([\d,]+) brainstorms and ([\d,]+) examples", capsys.readouterr().out)
        assert numbers is not None
        return [int(n.replace(",", "")) for n in numbers.groups()]

    held, brainstorms, examples = previewed(60)
    assert held == 0
    assert main(["-o", str(tmp_path / "a"), *words, "generator.draws.size=60"]) == 0
    assert brainstorms + examples == len(server.seen())
    capsys.readouterr()
    held, brainstorms, examples = previewed(90)
    assert held == len(server.seen())
    assert main(["-o", str(tmp_path / "b"), *words, "generator.draws.size=90"]) == 0
    assert held + brainstorms + examples == len(server.seen())
    capsys.readouterr()
    assert previewed(90)[1:] == [0, 0]


def test_ledgers_are_exported_imported_and_merged(
    start_server: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start_server()
    first, second = f"runtime.ledger={tmp_path}/first.sqlite", f"runtime.ledger={tmp_path}/second.sqlite"
    words = [
        "generator=openai", "runtime/server=local", f"runtime.server.base_url={server.url}", *RATES, "generator.draws.size=20",
        "generator.backend.models=[{name: good, share: 1.0}]", *ANY_LENGTH,
    ]  # fmt: skip
    assert main(["-o", str(tmp_path / "out"), *words, first]) == 0
    sent = len(server.seen())
    assert main(["ledger", "export", str(tmp_path / "rows.jsonl"), first]) == 0
    assert main(["ledger", "import", str(tmp_path / "rows.jsonl"), second]) == 0
    assert main(["ledger", "merge", str(tmp_path / "first.sqlite"), second]) == 0
    with read_ledger(tmp_path / "first.sqlite") as a, read_ledger(tmp_path / "second.sqlite") as b:
        assert list(a.rows()) == list(b.rows())
    assert main(["-o", str(tmp_path / "again"), *words, second]) == 0
    assert len(server.seen()) == sent, "an imported answer was bought again"
    capsys.readouterr()
    assert main(["ledger", "stats", second]) == 0
    told = json.loads(capsys.readouterr().out)

    assert told["requests"] == {"answered": sent}
    assert sum(told["verdicts"].values()) == sent
    assert (tmp_path / "again" / "pairs.parquet").read_bytes() == (tmp_path / "out" / "pairs.parquet").read_bytes()
