"""A program that reads the registries of a root again and again until its stdin ends, as other tools do.

It prints one JSON object: how often it read, and what was wrong. Most reads only check whether the file is
complete. Every `LOOKS` rounds the file is parsed, and its statuses must be those of one transaction:

updates: every project has the same status, and it never goes back (w000, w001, ...).
swaps: each number below the count of the projects occurs once.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from support.host import CANONICAL, DEADLINE_S, INVENTORY, PROJECT

LOOKS = 15
"""A file is parsed at every read of this number, and only checked at the other reads."""

MANY = 60
"""After this number of reads, the program reports `many`."""


class Reader:
    """The program as a process. It reads from the start, with a pause of `rest_s` between two rounds."""

    def __init__(self, root: Path, kind: str, rest_s: float = 0.0) -> None:
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(root), kind, str(rest_s)],
            env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
        assert self._process.stdout
        assert self._process.stdout.readline() == b"reading\n"

    def many(self) -> bool:
        """Return whether it has read many times. A test must change the files until then."""
        assert self._process.stdout
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def end(self) -> dict[str, Any]:
        """End the program, and return its result."""
        output, _ = self._process.communicate(timeout=DEADLINE_S)
        found = json.loads(output.splitlines()[-1])
        assert isinstance(found, dict)
        return found


def look(name: str, data: bytes) -> None:
    """Assert that a file is complete: its count, the number of its entries, and its end."""
    if name == CANONICAL:
        counted, entries, end = re.search(rb'"count": (\d+)', data), data.count(b'"source": "cmp_db"'), b"}"
    elif name == PROJECT:
        counted, entries, end = re.search(rb"total: (\d+)", data), data.count(b"\n- uuid: "), b"\n"
    else:
        counted, entries, end = None, 0, b"]"
    assert data.endswith(end), f"{len(data)} bytes end with {data[-20:]!r}"
    assert name == INVENTORY or (counted and int(counted[1]) == entries), (
        f"{counted} entries, found {entries}"
    )


def statuses(name: str, data: bytes) -> list[str]:
    """Return the statuses in a file. In the inventory, the status is the name up to the first dash."""
    if name == PROJECT:
        read = yaml.load(data, yaml.CSafeLoader)
        assert read["stats"]["github"] == sum(bool(entry["github_url"]) for entry in read["projects"]), (
            "stats"
        )
        return [entry["status"] for entry in read["projects"]]
    parsed = json.loads(data)
    if name == INVENTORY:
        return [element["name"].partition("-")[0] for element in parsed]
    names = [(entry["name"], project) for project, entry in parsed["uuids"].items()]
    assert names == sorted(names), "order"
    return [entry["status"] for entry in parsed["uuids"].values()]


def main(root: Path, kind: str, rest_s: float) -> None:
    """Read until stdin ends."""
    registries = (CANONICAL, PROJECT, INVENTORY) if kind == "updates" else (CANONICAL, PROJECT)
    reads, last, wrong = 0, dict.fromkeys(registries, ""), []
    sys.stdout.write("reading\n")
    sys.stdout.flush()
    while not select.select([sys.stdin], [], [], 0)[0]:
        name, parse = registries[reads % len(registries)], reads // len(registries) % LOOKS == 0
        if rest_s and name == registries[0]:
            time.sleep(rest_s)
        reads += 1
        if reads == MANY:
            sys.stdout.write("many\n")
            sys.stdout.flush()
        try:
            data = (root / name).read_bytes()
            look(name, data)
            seen = statuses(name, data) if parse or kind == "swaps" else []
        except (OSError, ValueError, KeyError, AssertionError, yaml.YAMLError) as exc:
            wrong.append(f"{name}: {type(exc).__name__}: {exc}")
            continue
        if kind == "swaps" and sorted(seen, key=int) != [str(number) for number in range(len(seen))]:
            wrong.append(f"{name}: parts of a transaction: {sorted(seen)}")
        if kind == "updates" and seen:
            if len({*seen}) != 1 or seen[0] < last[name]:
                wrong.append(
                    f"{name}: parts of several transactions, or back: {last[name]}, {sorted({*seen})}"
                )
            last[name] = max(seen)
    json.dump({"reads": reads, "wrong": wrong[:5]}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
