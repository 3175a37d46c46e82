"""`omnicdc doctor` on a host with a unit: what the service's user may do, and what the unit permits."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.estate import carry_out, failed
from support.memory import in_memory

from omnicdc.answers.doctor.checks import examine
from omnicdc.answers.doctor.site import Site
from omnicdc.files.lock import RootLock
from omnicdc.filesystem.atomic import REGISTRY
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnicdc.answers.doctor.finding import Finding, Report

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which gives files to another user")

DROP_IN = """[Service]
User=nobody
Group=nogroup
ExecStart=
ExecStart=/bin/true
Environment=OMNICDC_CONFIG={host}/omnicdc.yaml
LoadCredential=
LoadCredential=cmp_password:{host}/cmp_password
ReadWritePaths=
ReadWritePaths={writable}
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that all users can reach, with the files of a registry host."""
    place = Path(tempfile.mkdtemp(prefix="omnicdc-doctor-", dir=in_memory()))
    place.chmod(0o755)
    for scanner in scanners().values():
        (place / "root" / scanner.path).parent.mkdir(parents=True, exist_ok=True)
    (place / "state").mkdir()
    (place / "omnicdc.yaml").write_text(f"root: {place}/root\nstate_dir: {place}/state\ngh: no\n")
    (place / "cmp_password").write_text("a secret")
    (place / "cmp_password").chmod(0o600)
    unit = place / "units/omnicdc.service.d"
    unit.mkdir(parents=True)
    shutil.copy(Path(__file__).parents[2] / "systemd/omnicdc.service", place / "units")
    yield place
    shutil.rmtree(place)


def look(place: Path, writable: str | None = None, more: str = "", **variables: str) -> dict[str, Finding]:
    """Return the faults that are found without a database."""
    found = failed(examined(place, writable, more, **variables))
    found.pop("connection")
    return found


def examined(place: Path, writable: str | None = None, more: str = "", **variables: str) -> Report:
    """Examine the host, without a database."""
    text = DROP_IN.format(host=place, writable=writable or place / "root" / REGISTRY) + more
    (place / "units/omnicdc.service.d/host.conf").write_text(text)
    environ = {
        "SYSTEMD_UNIT_PATH": f"{place}/units", "OMNICDC_CONFIG": f"{place}/omnicdc.yaml", "PATH": "/bin",
        "OMNICDC_DSN": "host=/nonexistent", "HOME": str(place),
    }  # fmt: skip
    return examine(Site({}, environ | variables))


@contextmanager
def holding(root: Path, name: str) -> Iterator[None]:
    """Have a process of another user hold the lock of a root, as its daemon does."""
    user, (reader, writer) = pwd.getpwnam(name), os.pipe()
    if (process := os.fork()) == 0:
        with suppress(BaseException):
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            with RootLock(root):
                os.write(writer, b".")
                signal.pause()
        os._exit(1)
    os.close(writer)
    try:
        assert os.read(reader, 1) == b"."
        yield
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(reader)


def test_each_directory_and_file_of_the_service_is_tried_as_its_user(place: Path) -> None:
    """Root may do everything, but the daemon runs as another user."""
    (place / "cmp_password").chmod(0o644)
    (place / "omnicdc.yaml").chmod(0o640)
    assert look(place).keys() == {"password", "directories"}
    assert look(place)["directories"].seen.startswith(f"nobody cannot write {place}")
    for _ in range(4 + len(scanners())):
        found = look(place)
        for finding in found.values():
            assert finding.seen.startswith(
                (f"nobody cannot write {place}", "nobody cannot read ", f"{place}/cmp_p")
            )
            carry_out(finding)

    assert found == {}
    assert (place / "cmp_password").stat().st_mode & 0o777 == 0o600
    assert (place / "omnicdc.yaml").stat().st_mode & 0o777 == 0o640


def test_a_root_that_the_unit_does_not_open_is_found(place: Path) -> None:
    for path in (place / "root", place / "state"):
        shutil.chown(path, "nobody")
        for each in path.rglob("*"):
            shutil.chown(each, "nobody")

    assert look(place) == {}
    assert [*look(place, "/srv/elsewhere")] == ["paths"]


def test_a_shadow_in_the_state_directory_of_the_unit_needs_no_other_place(place: Path) -> None:
    """Regression: docs/cutover.md puts the shadow there, and the doctor found that the unit closes it."""
    state = Path(tempfile.mkdtemp(prefix="omnicdc-doctor-", dir="/var/lib"))
    try:
        state.chmod(0o755)
        for scanner in scanners().values():
            (state / "shadow" / scanner.path).parent.mkdir(parents=True, exist_ok=True)
        for path in (state, *state.rglob("*"), place / "state"):
            shutil.chown(path, "nobody")
        settings = f"root: {place}/root\nshadow: {state}/shadow\nstate_dir: {place}/state\ngh: no\n"
        (place / "omnicdc.yaml").write_text(settings)

        assert look(place, more=f"StateDirectory={state.name}\n") == {}
        assert [*look(place)] == ["paths"]
    finally:
        shutil.rmtree(state)


def test_a_root_that_another_daemon_serves_is_not_judged_by_the_unit(place: Path) -> None:
    """Regression: the remedies took the directories away from a daemon that runs without the unit."""
    other = place / "other"
    shutil.copytree(place / "root", other)
    for path in (other, *other.rglob("*")):
        shutil.chown(path, "games")
    with holding(other, "games"):
        report = examined(place, OMNICDC_ROOT=str(other), OMNICDC_STATE_DIR=str(other))

    by_name = {it.check: it.finding for it in report.results}
    assert by_name["directories"].seen == "games can write all 5"
    assert by_name["unit"].seen.startswith(f"the unit omnicdc.service publishes below {place}/root: another")
