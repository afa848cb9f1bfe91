"""Text from elsewhere, made safe to print: what an arm, an error or a generated text contains moves no cursor.

Names come from configuration, texts from language models and data sets. Formats other than the terminal have their own rules
in `reports/inert.py`, all of which begin here.
"""

from __future__ import annotations

import re

# C0 and C1 controls (terminal escapes), zero-width and bidirectional marks, line and paragraph separators, the BOM.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def visible(text: str) -> str:
    """One line in which every control, invisible or direction-changing character is spelled out; for terminals."""
    return _UNSEEN.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def visible_lines(text: str) -> str:
    """The same for text of several lines, such as a traceback: line breaks stay."""
    return "\n".join(visible(line.expandtabs()) for line in text.splitlines())
