"""From overrides to composed configurations: Hydra composes, and every override is checked before it may.

Hydra stops at the first thing wrong; people want all of them. So overrides are held against the composed baseline first, and
every unknown key, group and option is named at once with its nearest right name. What Hydra would drop or invent silently
(`+key`, `~key`, a key given twice, a mapping merged over a group) is refused with its reason.

Composing costs about 90 ms, nearly all of it for the groups: a choice of groups is composed once, the values of an arm are
then set by Hydra's own function, and the result is kept under a digest of conf/ and the overrides.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from harness.config import ConfigError, Problem, nearest
from harness.identity import fingerprint, folder_digest
from harness.record import write_json

ROOT = "run"  # conf/run.yaml, the baseline
CONTROL = ("sweep", "preview", "only", "retry")  # keys that say what to do with runs, not what a run is


@contextmanager
def composing(conf: Path) -> Iterator[None]:
    """Composition from `conf`, also while Hydra itself is running an application from it."""
    if GlobalHydra.instance().is_initialized():
        yield
    else:
        with initialize_config_dir(str(conf), version_base="1.3", job_name="harness"):
            yield


def parse(overrides: Sequence[str]) -> tuple[list[Override], list[Problem]]:
    """Overrides in Hydra's grammar; what does not parse becomes a problem."""
    parsed, problems = [], []
    for text in overrides:
        try:
            parsed.append(_parsed(text))
        except HydraException as error:
            problems.append(Problem(text, f"is not an override: {str(error).splitlines()[0]}"))
    return parsed, problems


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Override:
    """Most overrides stand in many arms; each is parsed once."""
    return OverridesParser.create().parse_override(text)


def key_of(text: str) -> str:
    """The key an override sets, without parsing it."""
    return text.split("=", 1)[0].lstrip("+~")


def layered(below: Sequence[str], above: Sequence[str]) -> tuple[str, ...]:
    """Overrides of `above` on top of `below`: the same key is taken from above."""
    keys = {key_of(text) for text in above}
    return (*(text for text in below if key_of(text) not in keys), *above)


class Composer:
    """Composes runs from one conf/ folder."""

    def __init__(self, conf: Path, cache: Path | None = None) -> None:
        self.conf = conf
        self.cache = cache
        """Folder for composed configurations; None: nothing is kept."""
        self._bases: dict[tuple[str, ...], DictConfig] = {}
        """Composed configurations by their choice of groups, before any value is set."""

    def compose(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The composed configuration as plain data; raises ConfigError for what only composing can find."""
        kept = None if self.cache is None else self.cache / f"{fingerprint([conf_digest(self.conf), list(overrides)])}.json"
        if kept is not None and kept.exists():
            data: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
            return data
        try:
            config = self._composed(overrides)
        except HydraException as error:
            raise ConfigError([Problem(" ".join(overrides) or ROOT, str(error).splitlines()[0])]) from error
        data = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_json(kept, data)
        return data

    def _composed(self, overrides: Sequence[str]) -> DictConfig:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        groups = tuple(str(each.input_line) for each in parsed if self._is_group(each.get_key_element().lstrip("+~")))
        if groups not in self._bases:
            with composing(self.conf):
                self._bases[groups] = compose(config_name=ROOT, overrides=list(groups))
        config = copy.deepcopy(self._bases[groups])
        values = [each for each in parsed if str(each.input_line) not in groups]
        ConfigLoaderImpl._apply_overrides_to_config(values, config)  # noqa: SLF001 - as Hydra does; a test holds them equal
        return config

    def check(self, overrides: Sequence[str], *, sweeps: bool) -> list[Problem]:
        """Everything wrong with overrides that can be seen without decoding: all of it, in order."""
        parsed, problems = parse(overrides)
        groups, values = [], []
        seen: dict[str, str] = {}
        for override in parsed:
            key = override.get_key_element().lstrip("+~")
            text = override.input_line or key
            if key in seen:
                problems.append(Problem(key, f"is given twice ({seen[key]} and {text}); keep one"))
            seen[key] = text
            if problem := self._refused(override, sweeps=sweeps):
                problems.append(problem)
            elif key.split(".")[0].split("/")[0] == "hydra":
                continue
            elif self._is_group(key):
                found = self._group_problems(override)
                problems += found
                groups += [] if found else [f"{key}={_options(override)[0]}"]
            else:
                values.append(key)
        known = self.compose(groups)
        problems += [problem for key in values if (problem := _unknown(key, known, self.groups()))]
        return problems

    def groups(self) -> dict[str, list[str]]:
        """Every group of conf/ with its options."""
        return self._groups

    @cached_property
    def _groups(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in sorted(self.conf.rglob("*.yaml")):
            group = path.parent.relative_to(self.conf).as_posix()
            if group != ".":
                found.setdefault(group, []).append(path.stem)
        return found

    def _is_group(self, key: str) -> bool:
        return key in self.groups() or "/" in key

    def _refused(self, override: Override, *, sweeps: bool) -> Problem | None:
        key = override.get_key_element()
        if key.startswith(("+", "~")):
            return Problem(key, "keys are neither added nor removed from the command line; every key stands in conf/")
        if override.is_sweep_override():
            if key.startswith("hydra"):
                return Problem(key, "Hydra's own settings cannot be swept")
            if key in CONTROL or key.startswith("runtime."):
                return Problem(key, "says how to run, not what; it cannot be swept")
            if not sweeps:
                return Problem(key, "has several values; add -m to sweep them")
        elif isinstance(override.value(), dict) and self._is_group(key):
            return Problem(key, "a mapping would be merged over the group silently; choose an option or set single keys")
        return None

    def _group_problems(self, override: Override) -> list[Problem]:
        key, groups = override.get_key_element(), self.groups()
        if key not in groups:
            return [Problem(key, f"is no group of conf/{nearest(key, groups)}")]
        return [
            Problem(key, f"has no option {option!r}{nearest(option, groups[key])}")
            for option in _options(override)
            if option not in groups[key] and option != "null"
        ]


@lru_cache(maxsize=4)
def conf_digest(conf: Path) -> str:
    """Digest of all files of a conf/ folder; read once in a process."""
    return folder_digest(conf)


def _options(override: Override) -> list[str]:
    if override.is_sweep_override():
        return [text.split("=", 1)[1] for text in _expand(override)]
    return [str(override.get_value_element_as_str())]


def _expand(override: Override) -> list[str]:
    key = override.get_key_element()
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def choices(overrides: Sequence[str]) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """Split overrides into fixed ones and swept ones (key to its single-valued overrides), in the order written."""
    parsed, problems = parse(overrides)
    if problems:
        raise ConfigError(problems)
    fixed = tuple(str(override.input_line) for override in parsed if not override.is_sweep_override())
    return fixed, {o.get_key_element(): _expand(o) for o in parsed if o.is_sweep_override()}


def _unknown(key: str, config: Mapping[str, Any], groups: Mapping[str, list[str]]) -> Problem | None:
    node: Any = config
    parts = key.split(".")
    for depth, part in enumerate(parts):
        here = ".".join(parts[:depth])
        if not isinstance(node, Mapping):
            return Problem(key, f"{here} is {node!r}, it has no keys")
        if part not in node:
            known = [f"{here}.{name}" if here else str(name) for name in node]
            return Problem(key, f"is not a known key{nearest('.'.join(parts[: depth + 1]), known)}")
        node = node[part]
    if isinstance(node, Mapping) and (options := groups.get("/".join(parts))):
        return Problem(key, f"is a group; choose {'/'.join(parts)}={'|'.join(options)}")
    return None
