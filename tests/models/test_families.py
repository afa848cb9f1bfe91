"""The families that read in both directions are those transformers has a masked-language-model head for."""

from __future__ import annotations

import subprocess
import sys

from models.families import ENCODERS


def test_families_are_those_of_the_installed_transformers() -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    assert frozenset(MODEL_FOR_MASKED_LM_MAPPING_NAMES) == ENCODERS


def test_texts_are_tokenised_without_torch() -> None:
    """A preview counts tokens in the parent of a sweep."""
    code = (
        "import sys; from pathlib import Path; from models.tokenizer import Tokenizer\n"
        "assert Tokenizer(Path('models/tiny/weights'), 64)(['one'])[0].ids\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
