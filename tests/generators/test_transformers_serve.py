"""The live backend against a server that is not ours: `transformers serve` with a small local model.

It ignores response_format without a word, sends no rate limits, names models by their path and writes nonsense: our own tiny
decoder is no chat model. So nothing is accepted; what is tested is the conversation.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from generators.backends.openai import Model
from generators.ledger import read_ledger
from generators.synthesize import NothingAcceptedError, SynthesizeSpec, synthesize
from harness.runtime import Price, Server
from harness.step import silent

Builders = tuple[Callable[..., Server], Callable[..., SynthesizeSpec]]
WEIGHTS = Path(__file__).resolve().parents[2] / "models" / "tiny" / "weights"
TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped decoder with the head it was pre-trained with, its input embeddings."""
    from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM, MistralModel

    folder = tmp_path_factory.mktemp("lm")
    model = MistralForCausalLM(MistralConfig.from_pretrained(WEIGHTS))
    model.model.load_state_dict(MistralModel.from_pretrained(WEIGHTS).state_dict())
    model.tie_weights()
    model.save_pretrained(folder)
    for path in WEIGHTS.glob("tokenizer*"):
        shutil.copy(path, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def served(language_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running server."""
    folder, port = tmp_path_factory.mktemp("serve"), 20_000 + os.getpid() % 10_000
    words = [
        sys.executable, "-m", "transformers.cli.transformers", "serve", str(language_model),
        "--host", "127.0.0.1", "--port", str(port), "--device", "cpu",
    ]  # fmt: skip
    environment = {**os.environ, "HF_HUB_CACHE": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("w") as log, subprocess.Popen(words, stdout=log, stderr=log, env=environment) as process:
        deadline = time.monotonic() + 120
        while not _answers(port):
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
        process.terminate()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_foreign_server_is_spoken_to_paid_and_judged(
    served: str, language_model: Path, helpers: Builders, tmp_path: Path
) -> None:
    server_for, live_spec = helpers
    name = str(language_model)
    spec = live_spec(6, models=(Model(name, 1.0),), max_tokens=48)
    spec = replace(spec, draws=replace(spec.draws, task_types={"sts": 1.0, "short_long": 1.0}))  # type: ignore[arg-type]
    server = server_for(served, timeout=300.0, concurrency=2, max_cost=1.0, prices=(Price(name, 1.0, 2.0, "2026-01-01"),))
    found: list[list[dict[str, Any]]] = []
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        with pytest.raises(NothingAcceptedError, match=r"truncated|not_json"):
            synthesize(spec, tmp_path / run, silent, {}, tmp_path / "ledger.sqlite", server)
        with read_ledger(tmp_path / "ledger.sqlite") as ledger:
            found.append(list(ledger.rows()))
    rows = found[0]

    assert found[1] == rows, "what the ledger holds was asked again"
    assert {row["state"] for row in rows} == {"answered"}
    assert {row["served_model"].split("@")[0] for row in rows} == {name}
    assert all(row["prompt_tokens"] > 0 and 0 < row["completion_tokens"] <= 48 for row in rows)
    assert all(row["cost"] == 1000 * row["prompt_tokens"] + 2000 * row["completion_tokens"] for row in rows)
    assert all(row["text"] == json.loads(row["response"])["choices"][0]["message"]["content"] for row in rows)
    print(Counter((row["finish"], row["verdict"]) for row in rows))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_model_it_does_not_have_is_an_error_that_says_where_to_look(served: str, helpers: Builders, tmp_path: Path) -> None:
    from generators.backends.exchange import ServerError

    server_for, live_spec = helpers
    with pytest.raises(ServerError, match=r"see generator\.backend|has no model"):
        synthesize(
            live_spec(4, models=(Model("no-such-model", 1.0),)), tmp_path, silent, {}, tmp_path / "ledger.sqlite",
            server_for(served, timeout=60.0, prices=()),
        )  # fmt: skip
