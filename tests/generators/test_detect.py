"""Languages: ours and the detector's agree, over real sentences of more than thirty languages."""

from collections import Counter
from pathlib import Path

import pytest

from generators.detect import CODES, probability
from generators.languages import FIGURE2

# ISO 639-3 of Tatoeba's files to our names.
TATOEBA = {
    "deu": "German", "fra": "French", "spa": "Spanish", "ita": "Italian", "por": "Portuguese", "nld": "Dutch", "pol": "Polish",
    "rus": "Russian", "jpn": "Japanese", "cmn": "Chinese", "ara": "Arabic", "pes": "Persian", "ind": "Indonesian",
    "kor": "Korean", "tur": "Turkish", "vie": "Vietnamese", "tha": "Thai", "hin": "Hindi", "ben": "Bengali", "tam": "Tamil",
    "tel": "Telugu", "swh": "Swahili", "fin": "Finnish", "swe": "Swedish", "dan": "Danish", "nob": "Norwegian",
    "ces": "Czech", "slk": "Slovak", "hun": "Hungarian", "ron": "Romanian", "bul": "Bulgarian", "ukr": "Ukrainian",
    "ell": "Greek", "heb": "Hebrew", "lit": "Lithuanian", "lvs": "Latvian", "est": "Estonian", "slv": "Slovenian",
    "hrv": "Croatian", "srp": "Serbian", "cat": "Catalan", "eus": "Basque", "glg": "Galician", "isl": "Icelandic",
}  # fmt: skip


def test_every_language_has_its_code() -> None:
    assert set(CODES) == set(FIGURE2)
    assert len(set(CODES.values())) == len(CODES)


def test_short_texts_and_unknown_languages_are_not_judged() -> None:
    assert probability("Ja!", "German") is None
    assert probability("A long enough sentence in a language that has no code here", "Klingon") is None
    assert probability("A long enough sentence asked for in Yiddish, unknown to the detector", "Yiddish") is None


@pytest.mark.data
def test_real_sentences_pass_and_other_languages_do_not(harness_data: Path) -> None:
    """Passages of three sentences; the floor of conf/generator (0.01) decides."""
    import pyarrow.parquet as pq

    floor, own, others = 0.01, Counter[str](), Counter[str]()
    judged = Counter[str]()
    for code, language in TATOEBA.items():
        path = harness_data / "mteb" / "mteb" / "tatoeba-bitext-mining" / "test" / f"{code}-eng.parquet"
        rows = pq.read_table(path).to_pylist()[:120]
        for group in (rows[i : i + 3] for i in range(0, len(rows), 3)):
            foreign, english = (" ".join(row[side] for row in group) for side in ("sentence1", "sentence2"))
            if (found := probability(foreign, language)) is not None:
                judged[language] += 1
                own[language] += found < floor
                others[language] += (probability(english, language) or 0.0) < floor

    assert len(judged) >= 30
    assert min(judged.values()) >= 30
    assert sum(own.values()) <= 0.01 * judged.total(), f"wrongly rejected: {+own}"
    assert others.total() >= 0.98 * judged.total(), "English passes as another language"
