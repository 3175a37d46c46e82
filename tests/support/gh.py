"""A program named gh that is a shell script of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_gh(directory: Path, script: str) -> Path:
    """Write the program gh into `directory`/bin; return that directory, for PATH."""
    program = directory / "bin/gh"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program.parent
