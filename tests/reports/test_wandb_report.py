"""The W&B report: a golden model, its translation offline, and servers that are unreachable, hanging and refusing."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.config import ConfigError
from reports.effects import Evidence, find
from reports.frame import Frame
from reports.load import load
from reports.means import type_columns
from reports.notes import verdict
from reports.tables import sweep_tables
from reports.wandb_report import ReportModel, model_of
from tests.harness.wandb_server import fake_server

GOLDEN = Path(__file__).parent / "golden" / "wandb_report.json"


def model(store: Path) -> ReportModel:
    (frame,) = load(store, ["quick"], with_baseline=True)
    evidence = Evidence(frame)
    return model_of(frame, sweep_tables(frame, evidence), verdict(frame, find(evidence, type_columns(frame))))


def test_the_report_model_is_golden(small) -> None:
    """A changed report is a visible line in a diff; HARNESS_GOLDEN=write rewrites the file."""
    small.write()
    found = json.dumps(asdict(model(small.store)), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if os.environ.get("HARNESS_GOLDEN") == "write":
        GOLDEN.write_text(found, encoding="utf-8")

    assert GOLDEN.read_text(encoding="utf-8") == found


def test_the_model_becomes_a_report_offline(small, tmp_path: Path) -> None:
    """In a process of its own with the network's door shut: constructing asks nobody, and every panel arrives."""
    small.write()
    script = (
        "import json, socket, sys\n"
        "def shut(*a, **k): raise AssertionError('the network was asked')\n"
        "socket.socket.connect = shut\n"
        "from harness.config import decode\n"
        "from reports.wandb_report import ReportModel, report_of\n"
        "model = decode(ReportModel, json.load(open(sys.argv[1])))\n"
        "print(report_of(model, 'team', 'ablations', server=False)._to_model().spec.model_dump_json(by_alias=True))\n"
    )
    path = tmp_path / "model.json"
    path.write_text(json.dumps(asdict(model(small.store))), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False, env=quiet(tmp_path)
    )

    assert done.returncode == 0, done.stderr[-2000:]
    spec = json.loads(done.stdout.strip().splitlines()[-1])
    text = json.dumps(spec)
    assert "quick@abc123" in text
    assert {"scores/mean", "finetune/loss"} <= set(re.findall(r"(?:scores|finetune)/\w+", text))
    headings = [block["children"][0]["text"] for block in spec["blocks"] if block["type"] == "heading"]
    assert headings == ["Verdict", "quick: arms by task types", "quick: arms by language", "Scores by arm", "Training"]


def quiet(folder: Path) -> dict[str, str]:
    names = ("WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "HOME")
    return {**os.environ, **{name: str(folder) for name in names}, "WANDB_API_KEY": "0" * 40}


@contextmanager
def server(kind: str) -> Iterator[str]:
    """A loopback address that nobody listens on, that accepts and stays silent, or that answers 403 to everything."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if kind != "unreachable":
            listener.listen()
            threading.Thread(target=answer, args=(listener, kind), daemon=True).start()
        yield address


def answer(listener: socket.socket, kind: str) -> None:
    kept = []
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        kept.append(connection)
        if kind == "refusing":
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            connection.close()


@pytest.mark.parametrize("kind", ["unreachable", "hanging", "refusing"])
def test_a_bad_server_costs_a_message_and_a_bounded_delay(
    small, tmp_path: Path, reports, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:  # fmt: skip
    small.write()
    with server(kind) as address:
        for name, value in (quiet(tmp_path) | {"WANDB_BASE_URL": address}).items():
            monkeypatch.setenv(name, value)
        started = time.monotonic()
        code, out, err = reports("wandb", "quick", "-o", str(tmp_path), "--push", "team/ablations", "--timeout", "5")
        spent = time.monotonic() - started

    assert code == 1
    assert spent < 5 + 6
    assert "not saved on W&B" in err
    assert (tmp_path / "quick.wandb-report.json").is_file()
    assert "wrote" in out


def test_the_report_arrives_as_a_draft(small, tmp_path: Path, reports, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through wandb-workspaces' own calls to a stand-in server: title, project, headings, run set and panels are there."""
    small.write()
    with fake_server() as server:
        for name, value in (quiet(tmp_path) | {"WANDB_BASE_URL": server.address}).items():
            monkeypatch.setenv(name, value)
        code, out, err = reports("wandb", "quick", "-o", str(tmp_path), "--push", "team/test")

    assert (code, err) == (0, "")
    assert f"{server.address}/team/test/reports/" in out
    (sent,) = server.reports
    assert (sent["type"], sent["entityName"], sent["projectName"]) == ("runs/draft", "team", "test")
    assert sent["displayName"] == "quick: What does it do?"
    for part in ("Scores by arm", "quick@abc123", "scores/mean", "finetune/loss"):
        assert part in sent["spec"]


def test_a_server_that_falls_silent_costs_the_time_allowed(
    small, tmp_path: Path, reports, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    small.write()
    with fake_server() as server:
        server.silent = True
        for name, value in (quiet(tmp_path) | {"WANDB_BASE_URL": server.address}).items():
            monkeypatch.setenv(name, value)
        started = time.monotonic()
        code, _, err = reports("wandb", "quick", "-o", str(tmp_path), "--push", "team/test", "--timeout", "5")

    assert code == 1
    assert time.monotonic() - started < 5 + 5
    assert "saving the report: not done within" in err
    assert (tmp_path / "quick.wandb-report.json").is_file()


def test_a_quote_cannot_enter_a_filter(small) -> None:
    small.write(name="it's")
    frames = load(small.store, ["it's"], with_baseline=True)
    with pytest.raises(ConfigError, match="quote"):
        model_of(frames[0], [], "")
    assert isinstance(frames[0], Frame)
