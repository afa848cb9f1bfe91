"""Line 4.4, second half: the table compiled by a Debian texlive and the page in headless Chromium, as committed in docs/img.

    python -m tests.acceptance.pictures            make both anew and compare with what is committed
    python -m tests.acceptance.pictures write      make both anew and commit-ready

The page is drawn with every host name unresolvable; anything logged to its console is a failure. Pictures are compared by
their pixels: other versions of fonts move a few, another table moves many.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.acceptance.quickstart import REPOSITORY, require
from tests.acceptance.reading import SKIP, printed

IMAGES = REPOSITORY / "docs" / "img"
TABLE, PAGE = "table17.png", "table17-page.png"
RUN = "reference:paper.T17"
DIFFERENT, FEW = 64, 0.001  # a pixel differs by more than this of 255; this share of them may
TOOLS = ("pdflatex", "pdftoppm", "chromium")


def run(*command: str, folder: Path) -> str:
    """Run a program in a folder; ends this one with its output if it fails."""
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
        timeout=180,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def table(folder: Path) -> Path:
    """Table 17 by task type with Table 1 below it: LaTeX, compiled as it stands without a shell, its page as a picture."""
    text = printed("table", RUN, "--format", "tex", "--reference", "paper:T1", store=folder)
    (folder / "table.tex").write_text(text, encoding="utf-8")
    said = run("pdflatex", "-no-shell-escape", "-halt-on-error", "-interaction=nonstopmode", "table.tex", folder=folder)
    require("Output written on table.pdf (1 page" in said, "LaTeX as printed compiles to one page")
    require("Overfull" not in said, "and nothing runs over its margin")
    run("pdftoppm", "-png", "-r", "80", "-singlefile", "table.pdf", "table", folder=folder)
    return folder / "table.png"


def page(folder: Path) -> Path:
    """The HTML page of the same, drawn without a network."""
    noisy = folder / "noisy.html"
    noisy.write_text("<script>console.error('heard')</script>", encoding="utf-8")
    require(bool(logged(noisy, folder / "noisy.png")), "premise: what a page logs to its console is heard")
    print(printed("html", RUN, "-o", str(folder), store=folder).strip())
    require(logged(folder / "paper.T17.html", folder / "page.png") == [], "the page logs nothing to the console")
    return folder / "page.png"


def logged(source: Path, picture: Path) -> list[str]:
    """Draw a page; what it logs to its console."""
    said = run(
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1240,960",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", f"--user-data-dir={source.parent / 'profile'}",
        f"--screenshot={picture}", source.as_uri(), folder=source.parent,
    )  # fmt: skip
    return [line for line in said.splitlines() if ":CONSOLE" in line]


def pixels(path: Path) -> np.ndarray:
    """Grey values."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L"), dtype=np.int16)


def compare(made: Path, name: str) -> None:
    """What was made is what is committed."""
    new, committed = pixels(made), pixels(IMAGES / name)
    require(new.std() > 20, f"{name}: something is drawn")
    require(new.shape == committed.shape, f"{name}: {new.shape[1]} x {new.shape[0]} pixels, as committed")
    share = float((np.abs(new - committed) > DIFFERENT).mean())
    require(share <= FEW, f"{name}: {100 * share:.2f} % of its pixels differ from the committed picture")


def main() -> None:
    """Make both; write or compare."""
    if lacking := [tool for tool in TOOLS if shutil.which(tool) is None]:
        print(f"not installed: {', '.join(lacking)} (apt-get install texlive-latex-recommended lmodern poppler-utils chromium)")
        sys.exit(SKIP)
    with tempfile.TemporaryDirectory(prefix="pictures-") as scratch:
        for made, name in ((table(Path(scratch)), TABLE), (page(Path(scratch)), PAGE)):
            if sys.argv[1:] == ["write"]:
                with Image.open(made) as image:
                    image.convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(IMAGES / name, optimize=True)
                print(f"wrote {IMAGES / name}")
            else:
                compare(made, name)


if __name__ == "__main__":
    main()
