"""The languages texts are asked in: XLM-R's list (arXiv 1911.02116, Table 6) with the paper's Figure 2b as weights.

XLM-R's romanised and Zawgyi variants are left out and the two scripts of Chinese are one: 93 languages, as in the paper.
Languages are English names here and in every `Pair`; mteb's codes are translated where scores are read.
"""

from __future__ import annotations

from collections.abc import Mapping

NAMED: Mapping[str, float] = {
    "English": 43.1, "Polish": 3.0, "Japanese": 2.9, "Italian": 2.9, "Russian": 2.9, "Indonesian": 2.9, "German": 2.9,
    "Persian": 2.9, "Spanish": 2.8, "Chinese": 2.8, "French": 2.8, "Portuguese": 2.8, "Dutch": 2.8, "Arabic": 2.7,
}  # fmt: skip
"""Percent of the paper's examples for the languages Figure 2b names."""

OTHERS = (
    "Afrikaans", "Amharic", "Assamese", "Azerbaijani", "Belarusian", "Bulgarian", "Bengali", "Breton", "Bosnian",
    "Catalan", "Czech", "Welsh", "Danish", "Greek", "Esperanto", "Estonian", "Basque", "Finnish", "Western Frisian",
    "Irish", "Scottish Gaelic", "Galician", "Gujarati", "Hausa", "Hebrew", "Hindi", "Croatian", "Hungarian", "Armenian",
    "Icelandic", "Javanese", "Georgian", "Kazakh", "Khmer", "Kannada", "Korean", "Kurdish", "Kyrgyz", "Latin", "Lao",
    "Lithuanian", "Latvian", "Malagasy", "Macedonian", "Malayalam", "Mongolian", "Marathi", "Malay", "Burmese",
    "Nepali", "Norwegian", "Oromo", "Oriya", "Punjabi", "Pashto", "Romanian", "Sanskrit", "Sindhi", "Sinhala", "Slovak",
    "Slovenian", "Somali", "Albanian", "Serbian", "Sundanese", "Swedish", "Swahili", "Tamil", "Telugu", "Thai",
    "Filipino", "Turkish", "Uyghur", "Ukrainian", "Urdu", "Uzbek", "Vietnamese", "Xhosa", "Yiddish",
)  # fmt: skip
OTHERS_SHARE = 19.8
"""Percent that Figure 2b leaves to all other languages together; spread evenly, as nothing finer is published."""

FIGURE2: Mapping[str, float] = {**NAMED, **dict.fromkeys(OTHERS, OTHERS_SHARE / len(OTHERS))}
"""Every language with its weight in percent."""

LETTERS_PER_WORD: Mapping[str, float] = {
    "Chinese": 1.7, "Japanese": 2.2, "Thai": 4.5, "Lao": 4.5, "Khmer": 4.5, "Burmese": 5.0,
}  # fmt: skip
"""Letters that make about one English word in scripts written without spaces; rough, and used only to judge lengths."""


def count_words(text: str, language: str) -> float:
    """About how many words a text has: by spaces, or by letters where the script has none."""
    per_word = LETTERS_PER_WORD.get(language)
    if per_word is None:
        return float(len(text.split()))
    return sum(letter.isalnum() for letter in text) / per_word
