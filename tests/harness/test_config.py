"""decode() is strict and names every bad key at once."""

import json
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from annotated_types import Gt

from harness.config import ConfigError, decode, decode_text, nearest
from harness.kinds import BY_KIND, kind_of, members


@dataclass(frozen=True)
class Mean:
    kind: Literal["mean"]


@dataclass(frozen=True)
class Latent:
    kind: Literal["latent"]
    heads: Annotated[int, Gt(0)]


Pooling = Annotated[Mean | Latent, BY_KIND]


@dataclass(frozen=True)
class Spec:
    rank: Annotated[int, Gt(0)]
    rate: float
    tags: tuple[str, ...]
    pooling: Pooling


GOOD = {"rank": 4, "rate": 0.5, "tags": ["a"], "pooling": {"kind": "latent", "heads": 2}}


def test_decodes_nested_unions_and_tuples() -> None:
    assert decode(Spec, GOOD) == Spec(4, 0.5, ("a",), Latent("latent", 2))


def test_an_integer_is_a_float_but_nothing_else_is_coerced() -> None:
    assert decode(Spec, GOOD | {"rate": 1}).rate == 1.0
    for bad in ({"rank": "4"}, {"rank": True}, {"rank": 4.0}, {"rate": "0.5"}, {"tags": "a"}, {"tags": [1]}):
        with pytest.raises(ConfigError):
            decode(Spec, GOOD | bad)


def test_every_problem_is_named_at_once_with_its_path() -> None:
    bad = {"rank": 0, "tags": ["a"], "pooling": {"kind": "latent", "heads": -1}, "rnk": 4}

    with pytest.raises(ConfigError) as error:
        decode(Spec, bad, "model")

    paths = {problem.path for problem in error.value.problems}
    assert paths == {"model.rank", "model.rate", "model.pooling.heads", "model.rnk"}
    assert "0: input should be greater than 0" in str(error.value)


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'mean', 'latent'"):
        decode(Spec, GOOD | {"pooling": {"kind": "max"}})


def test_a_spec_field_is_never_filled_in() -> None:
    with pytest.raises(ConfigError, match="every value of an experiment is written in conf/"):
        decode(Mean, {})


def test_members_of_a_union_and_their_kinds() -> None:
    assert [kind_of(member) for member in members(Pooling)] == ["mean", "latent"]


def test_nearest_right_name() -> None:
    assert nearest("raank", ["rank", "alpha"]) == " (did you mean 'rank'?)"
    assert nearest("zzz", ["rank", "alpha"]) == " (known: alpha, rank)"


def test_text_is_decoded_as_its_data_are() -> None:
    assert decode_text(Spec, json.dumps(GOOD)) == decode(Spec, GOOD)
    bad = {"rank": 0, "tags": ["a"], "pooling": {"kind": "latent", "heads": -1}, "rnk": 4}
    with pytest.raises(ConfigError) as from_data:
        decode(Spec, bad, "model")
    with pytest.raises(ConfigError) as from_text:
        decode_text(Spec, json.dumps(bad), "model")

    assert str(from_text.value) == str(from_data.value)


@pytest.mark.parametrize(
    "text",
    ["", "{", json.dumps(GOOD)[:-1], json.dumps(GOOD) + "}", f'{{}}, "root": {json.dumps(GOOD)}', json.dumps(GOOD) + " 1"],
)
def test_what_is_no_json_by_itself_is_not_decoded(text: str) -> None:
    with pytest.raises(ConfigError, match="is not JSON"):
        decode_text(Spec, text)
