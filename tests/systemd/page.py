"""docs/install.md as data: the tests run, load and verify the text that an operator reads."""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def blocks(language: str) -> list[str]:
    """Return the page's blocks in one language."""
    page = (CHECKOUT / "docs/install.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def block(language: str, text: str) -> str:
    """Return the first block in a language that contains this text."""
    return next(it for it in blocks(language) if text in it)


def commands() -> list[str]:
    """Return the commands of the installation, without the numbers behind them."""
    return [re.sub(r"\s+# \d+$", "", line) for line in block("sh", "pip install").splitlines()]
