"""From text to ids, with the specials put on by ourselves.

transformers 5 follows `tokenizer.json` and ignores `add_eos_token` in `tokenizer_config.json`; asking for one special drops
the other (traps 1, 2). A last-token model without its EOS pools the last word instead, and nothing warns. So the ids are
built here: what the model's own post-processor puts before and after a text, completed by EOS for decoders. Room for the
specials is left by truncation (trap 3), and a text that spells a special token does not become one (trap 4).

Not here: templates (`harness.instructions`) and padding (`network.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.identity import combine_digests, file_digest
from models.backbone import TOKENIZER_FILES, read_config
from models.families import ENCODERS

if TYPE_CHECKING:
    import tokenizers

SPECIALS = ("bos_token", "eos_token", "pad_token", "cls_token", "sep_token", "mask_token")


class TokenizerError(ValueError):
    """A tokenizer that cannot end or start a text the way its model needs; names the folder and the remedy."""


class Tokens(NamedTuple):
    """One tokenised text."""

    ids: list[int]
    truncated: bool


class Tokenizer:
    """Texts to ids of at most `max_length` tokens, specials included."""

    def __init__(self, folder: Path, max_length: int) -> None:
        """Read the tokenizer of a model folder; raises TokenizerError if a decoder's has no EOS."""
        self._backend = _backend(folder)
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.encode_special_tokens = True  # "</s>" inside a text is five characters, not the end
        settings = _settings(folder)
        special = {name: self._backend.token_to_id(settings[name]) for name in SPECIALS if settings.get(name)}
        self._reserved = frozenset(i for i in special.values() if i is not None)
        self.before, self.after = self._own_specials()
        if is_decoder(folder):
            self._complete(special, add_bos=bool(settings.get("add_bos_token")), folder=folder)
        self._reserved |= {*self.before, *self.after}
        self._room = max_length - len(self.before) - len(self.after)
        if not self.before + self.after or self._room < 1:
            raise TokenizerError(
                f"{folder}: {len(self.before) + len(self.after)} special tokens around a text and max_length "
                f"{max_length} leave no usable input; raise max_length or repair the tokenizer's post-processor"
            )

    def __call__(self, texts: Sequence[str]) -> list[Tokens]:
        """Ids of every text, in order; the last special survives truncation."""
        encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [self._wrap(encoding.ids) for encoding in encodings]

    def write_specials(self, path: Path) -> None:
        """Save as a `tokenizer.json` whose own post-processor puts on what this object does."""
        from tokenizers import processors

        names = [str(self._backend.id_to_token(i)) for i in (*self.before, *self.after)]
        parts = [*names[: len(self.before)], "$A", *names[len(self.before) :]]
        special = list(dict.fromkeys(zip(names, (*self.before, *self.after), strict=True)))
        copy = type(self._backend).from_str(self._backend.to_str())
        copy.post_processor = processors.TemplateProcessing(single=" ".join(parts), special_tokens=special)
        copy.save(str(path))

    def _wrap(self, ids: list[int]) -> Tokens:
        if not self._reserved.isdisjoint(ids):  # a Unigram vocabulary can spell "</s>" as one ordinary piece
            ids = [i for i in ids if i not in self._reserved]
        return Tokens([*self.before, *ids[: self._room], *self.after], len(ids) > self._room)

    def _own_specials(self) -> tuple[list[int], list[int]]:
        encoding = self._backend.encode("a")
        mask, ids = encoding.special_tokens_mask, encoding.ids
        start = next((i for i, special in enumerate(mask) if not special), len(ids))
        end = next((i for i, special in enumerate(reversed(mask)) if not special), 0)
        return ids[:start], ids[len(ids) - end :]

    def _complete(self, special: dict[str, int | None], *, add_bos: bool, folder: Path) -> None:
        bos, eos = special.get("bos_token"), special.get("eos_token")
        if not self.before and add_bos and bos is not None:
            self.before = [bos]
        if not self.after:
            if eos is None:
                raise TokenizerError(f"{folder}: a decoder without eos_token cannot end a text; name one in "
                                     "tokenizer_config.json")  # fmt: skip
            self.after = [eos]


def is_decoder(folder: Path) -> bool:
    """Whether the model in a folder generates from left to right, by its `config.json`."""
    return read_config(folder)["model_type"] not in ENCODERS


def tokenizer_digest(folder: Path) -> str:
    """One digest for all files that decide the ids."""
    present = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    return combine_digests({path.name: file_digest(path) for path in present})


def _backend(folder: Path) -> tokenizers.Tokenizer:
    """The Rust tokenizer: `tokenizer.json` as it is; a folder without one is converted by transformers."""
    import tokenizers

    path = folder / "tokenizer.json"
    if path.is_file():
        try:
            return tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust side raises bare Exception
            raise TokenizerError(f"{path}: not a tokenizer ({error}); restore the file") from error
    from transformers import AutoTokenizer

    whole = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    backend: tokenizers.Tokenizer = whole.backend_tokenizer
    return backend


def _settings(folder: Path) -> dict[str, Any]:
    """Names of special tokens, from both files that may say them; the older map only fills gaps."""
    merged: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        path = folder / name
        if path.is_file():
            merged.update({k: v for k, v in json.loads(path.read_text(encoding="utf-8")).items() if v is not None})
    return {key: value["content"] if isinstance(value, dict) and "content" in value else value
            for key, value in merged.items()}  # fmt: skip
