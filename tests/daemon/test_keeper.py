"""The daemon keeps each generation after the acknowledgement; faults of that hold nothing back, and heal."""

from __future__ import annotations

import signal
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from support.faulty_command import FAULTS, PROGRAM
from support.host import CANONICAL, DEADLINE_S, REGISTRIES, until

from omnicdc.errors import ConfigError, OmnicdcError
from omnicdc.files.kept.reading import KeptGenerations

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

POINTS = ("open", "block", "rename block", "record", "rename record", "drop", "remove", "done")


def newest(host: Host) -> int:
    """Return the newest kept generation."""
    try:
        return KeptGenerations(host.state).names[-1].generation
    except OmnicdcError:
        return 0


def kept_files(host: Host) -> dict[int, dict[str, bytes]]:
    """Read every block of every kept generation; return the files by generation.

    A daemon that runs may drop a generation meanwhile. Then all are read again.
    """
    while True:
        with suppress(ConfigError):
            return _kept_files(host)


def _kept_files(host: Host) -> dict[int, dict[str, bytes]]:
    store = KeptGenerations(host.state)
    return {
        name.generation: {
            path: b"".join(data for _, data in store.blocks(name, published.blocks, what=path))
            for path, published in store.read(name).manifest.registries.items()
        }
        for name in store.names
    }


def present(host: Host) -> dict[str, bytes]:
    return {path: host.raw(path) for path in REGISTRIES}


def keeps(host: Host, files: dict[str, bytes]) -> bool:
    """Return whether the newest kept generation has these files."""
    return newest(host) > 0 and kept_files(host).get(newest(host)) == files


def test_a_daemon_that_is_killed_while_it_keeps_a_generation_leaves_a_store_that_reads(
    cmp: Cmp, host: Host
) -> None:
    """P3, P5, P8: the change was acknowledged before. The next start keeps what is on the disk."""
    faults = host.root.parent / "faults"
    host.program, host.env[FAULTS] = PROGRAM, str(faults)
    host.env["OMNICDC_KEEP_GENERATIONS"] = "2"
    cmp.upsert("rocket", github_url="https://github.com/acme/rocket")
    daemon = host.daemon()
    for number, point in enumerate(POINTS):
        until(lambda: present(host) in kept_files(host).values(), "the files are kept")
        if point == "open":
            assert daemon.stop() == 0
        faults.write_text(f"keep {point}: kill\n")
        if point == "open":
            daemon = host.starting()
        else:
            cmp.upsert(f"apollo {number}")
        assert daemon.process.wait(DEADLINE_S) == -signal.SIGKILL, point
        files = present(host)
        assert 1 <= len(kept_files(host)) <= 3, point
        faults.unlink()
        daemon = host.daemon()
        until(partial(keeps, host, files), "the start keeps them")

    assert len(kept_files(host)) == 2
    assert daemon.stop() == 0


def test_a_store_that_cannot_be_written_is_a_fault_and_nothing_waits_for_it(cmp: Cmp, host: Host) -> None:
    """P3, P5, P6: `status` names cause and remedy. Once the cause is gone, the newest generation is kept."""
    faults = host.root.parent / "faults"
    host.program, host.env[FAULTS] = PROGRAM, str(faults)
    daemon = host.daemon()
    until(lambda: newest(host), "the first generation is kept")
    faults.write_text("keep block: ENOSPC\n")
    cmp.upsert("apollo")
    verdict = cmp.arrived()
    event = daemon.wait_for("generation_not_kept")
    until(lambda: host.ask("status")["faults"], "the fault is reported")
    status = host.ask("status")
    faults.unlink()
    cmp.upsert("gemini")
    cmp.arrived()
    daemon.wait_for("generations_kept_again")
    until(lambda: host.ask("status")["healthy"], "the fault is over")

    assert verdict.arrived
    assert "No space left on device" in event["error"]
    assert any("cannot keep generation 2" in fault and "df -h" in fault for fault in status["faults"])
    assert kept_files(host)[newest(host)] == present(host)


def test_a_run_for_cron_keeps_its_generation_and_0_keeps_none(cmp: Cmp, host: Host) -> None:
    cmp.upsert("apollo")
    host.once()
    host.once()
    once = kept_files(host)
    cmp.upsert("gemini")
    host.ask("run", "--once", OMNICDC_KEEP_GENERATIONS="0")

    assert [*once] == [1]
    assert newest(host) == 0


def test_a_file_that_another_process_changed_is_left_out_until_it_is_right_again(
    cmp: Cmp, host: Host
) -> None:
    """Nothing of it was kept before. With `on_drift: alert` the file stays as it is."""
    cmp.upsert("apollo")
    host.ask("run", "--once", OMNICDC_KEEP_GENERATIONS="0")
    (host.root / CANONICAL).write_text("by hand")
    host.ask("run", "--once", OMNICDC_ON_DRIFT="alert")
    shown, without = host.ask("show"), kept_files(host)
    host.once()

    assert shown["left_out"] == ["canonical_projects_uuids.json"]
    assert [sorted(files) for files in without.values()] == [sorted({*REGISTRIES} - {CANONICAL})]
    assert host.ask("show")["left_out"] == []
    assert kept_files(host)[newest(host)] == present(host)
