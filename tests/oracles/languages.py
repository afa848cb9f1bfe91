"""Prints the confusion table of docs/generator.md: `HARNESS_DATA=... python -m tests.oracles.languages`.

Three sentences of Tatoeba a text; `rejected` is what the strict filter's floor (0.01) would reject.
"""

import os
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from generators.detect import CODES, detect, probability
from tests.generators.test_detect import TATOEBA

FLOOR = 0.01


def main() -> None:
    """One row a language."""
    folder = Path(os.environ["HARNESS_DATA"]) / "mteb" / "mteb" / "tatoeba-bitext-mining" / "test"
    print("| asked | texts judged | detected as asked % | most often taken for | rejected |\n|---|---|---|---|---|")
    for code, language in sorted(TATOEBA.items(), key=lambda item: item[1]):
        sentences = [row["sentence1"].strip() for row in pq.read_table(folder / f"{code}-eng.parquet").to_pylist()]
        texts = [" ".join(sentences[i : i + 3]) for i in range(0, len(sentences), 3)]
        chances = {text: chance for text in texts if (chance := probability(text, language)) is not None}
        found = Counter(detect(text) for text in chances)
        others = ", ".join(f"{name} {n}" for name, n in found.most_common(4) if name != CODES[language])
        share, rejected = 100 * found[CODES[language]] / len(chances), sum(chance < FLOOR for chance in chances.values())
        print(f"| {language} | {len(chances)} | {share:.1f} | {others} | {rejected} |")


if __name__ == "__main__":
    main()
