"""pgbench with Genesis's upsert of one random project."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from support.cmp import UPSERT

if TYPE_CHECKING:
    from pathlib import Path
    from typing import LiteralString

    from bench.ground import Ground

IDS: LiteralString = """
update projects p set id = md5(k.n::text)::uuid
  from (select id, row_number() over () as n from projects) k where k.id = p.id;
"""
"""Sets ids that pgbench can compute from a number. They are spread over the index like random ids."""

DRAW = """
\\set n random(1, {projects})
\\set v random(1, 1000000000)
\\set domain :v % 7
\\set stage :v % 100
"""

VALUES = {
    "id": "md5(:n::text)",
    "name": "'bench-' || :v::text",
    "key": "'bench-key-' || :v::text",
    "type": "'SERVICE'",
    "status": "'stage-' || :stage::text",
    "metadata": (
        """('{"github_url": "https://github.com/bench/repo-' || :v::text || """
        """'", "domain": "d' || :domain::text || '"}')"""
    ),
}

_RATE = re.compile(r"^tps = ([0-9.]+) ", re.MULTILINE)


def script(ground: Ground, projects: int) -> Path:
    """Write the script: an upsert of one of the projects, whose id is computed from a number (IDS)."""
    path = ground.directory / "upsert.pgbench"
    path.write_text(DRAW.format(projects=projects) + UPSERT.strip() % VALUES + ";\n")
    return path


def command(
    program: str, path: Path, dsn: str, *, clients: int, seconds: int, rate: int | None = None
) -> list[str]:
    """Return the command line, with a rate per second, or as fast as possible."""
    return [
        program, "--no-vacuum", "--protocol=prepared", f"--time={seconds}", f"--client={clients}", "--jobs=2",
        f"--file={path}", *([f"--rate={rate}"] if rate else []), dsn,
    ]  # fmt: skip


def rate_in(output: str) -> float:
    """Return the transactions per second in the output of pgbench."""
    rate = _RATE.search(output)
    assert rate, output
    return float(rate[1])
