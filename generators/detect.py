"""Whether a text is in the language it was asked in: py3langid, offline, 142 languages, a model of arrays (no pickle).

Detectors guess on short texts, so the question asked here is the milder one: how probable is the asked language? Close
relatives count as one. Languages the detector does not know are not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

CODES: Mapping[str, str] = {
    "English": "en", "Polish": "pl", "Japanese": "ja", "Italian": "it", "Russian": "ru", "Indonesian": "id", "German": "de",
    "Persian": "fa", "Spanish": "es", "Chinese": "zh", "French": "fr", "Portuguese": "pt", "Dutch": "nl", "Arabic": "ar",
    "Afrikaans": "af", "Amharic": "am", "Assamese": "as", "Azerbaijani": "az", "Belarusian": "be", "Bulgarian": "bg",
    "Bengali": "bn", "Breton": "br", "Bosnian": "bs", "Catalan": "ca", "Czech": "cs", "Welsh": "cy", "Danish": "da",
    "Greek": "el", "Esperanto": "eo", "Estonian": "et", "Basque": "eu", "Finnish": "fi", "Western Frisian": "fy",
    "Irish": "ga", "Scottish Gaelic": "gd", "Galician": "gl", "Gujarati": "gu", "Hausa": "ha", "Hebrew": "he", "Hindi": "hi",
    "Croatian": "hr", "Hungarian": "hu", "Armenian": "hy", "Icelandic": "is", "Javanese": "jv", "Georgian": "ka",
    "Kazakh": "kk", "Khmer": "km", "Kannada": "kn", "Korean": "ko", "Kurdish": "ku", "Kyrgyz": "ky", "Latin": "la",
    "Lao": "lo", "Lithuanian": "lt", "Latvian": "lv", "Malagasy": "mg", "Macedonian": "mk", "Malayalam": "ml",
    "Mongolian": "mn", "Marathi": "mr", "Malay": "ms", "Burmese": "my", "Nepali": "ne", "Norwegian": "no", "Oromo": "om",
    "Oriya": "or", "Punjabi": "pa", "Pashto": "ps", "Romanian": "ro", "Sanskrit": "sa", "Sindhi": "sd", "Sinhala": "si",
    "Slovak": "sk", "Slovenian": "sl", "Somali": "so", "Albanian": "sq", "Serbian": "sr", "Sundanese": "su", "Swedish": "sv",
    "Swahili": "sw", "Tamil": "ta", "Telugu": "te", "Thai": "th", "Filipino": "tl", "Turkish": "tr", "Uyghur": "ug",
    "Ukrainian": "uk", "Urdu": "ur", "Uzbek": "uz", "Vietnamese": "vi", "Xhosa": "xh", "Yiddish": "yi",
}  # fmt: skip
"""ISO 639-1 codes of our languages."""

RELATIVES = (
    frozenset({"hr", "bs", "sr"}), frozenset({"id", "ms", "jv", "su"}), frozenset({"no", "nn", "da"}), frozenset({"cs", "sk"}),
    frozenset({"zh", "wuu", "yue"}), frozenset({"ar", "ary", "arz"}), frozenset({"hi", "mr", "ne", "sa"}),
    frozenset({"gl", "pt", "es"}), frozenset({"uz", "uzs"}), frozenset({"nl", "af", "fy"}), frozenset({"ku", "sdh"}),
    frozenset({"ur", "sd"}), frozenset({"ru", "uk", "be", "bg", "mk"}),
)  # fmt: skip
"""Languages that the detector takes for each other in short texts."""

MIN_LETTERS = 24
"""Shorter texts are not judged; names and labels look like any language."""


def probability(text: str, language: str) -> float | None:
    """How probable it is that the text is in the language or a close relative; None if that cannot be judged."""
    code = CODES.get(language)
    if code is None:
        return None
    least = MIN_LETTERS // (2 if code in {"zh", "ja", "ko", "th"} else 1)
    if sum(1 for _ in islice(filter(str.isalpha, text), least)) < least:
        return None
    ranked = _rank(text)
    if code not in ranked:
        return None
    family = next((group for group in RELATIVES if code in group), frozenset({code}))
    return float(sum(ranked.get(member, 0.0) for member in family))


def detect(text: str) -> str:
    """The most probable language's code, whatever was asked."""
    return max((p, code) for code, p in _rank(text).items())[1]


def _rank(text: str) -> dict[str, float]:
    """Every language once, although Serbian and Uzbek have a model for each script: the library adds them up."""
    return dict(_identifier().rank(text))


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
