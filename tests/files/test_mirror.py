"""Programs that mirror a registry on file system events hold what the file holds.

This is true after every way to publish it.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from support.host import PROJECT, REGISTRIES
from support.mirror import CLOSE_WRITE, MOVED_FROM, MOVED_TO, Mirrors

from omnicdc.daemon.once import run_to_the_end
from omnicdc.files.manifest import MANIFEST
from omnicdc.filesystem import exchange
from omnicdc.filesystem.atomic import replace, stage
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from support.cmp import Cmp
    from support.host import Host

NAME = "registry.json"


def test_a_mirror_holds_every_registry_and_the_manifest(cmp: Cmp, host: Host) -> None:
    """The files are created, changed, deleted and edited. Each copy is equal to its file, byte by byte."""
    watched = [host.root / name for name in (*REGISTRIES, MANIFEST)]
    for path in watched:
        path.parent.mkdir(parents=True, exist_ok=True)
    cmp.fill(5)

    with ExitStack() as stack:
        mirrors = {path: stack.enter_context(Mirrors(path.parent)) for path in watched}

        def publish_and_compare(step: str) -> None:
            run_to_the_end(host.config(), Stop(), lambda _point: None)
            for path, mirror in mirrors.items():
                mirror.follow()
                wanted = path.read_bytes()
                assert mirror.rereading.get(path.name) == wanted, (step, path.name, mirror.events)
                assert mirror.moving.get(path.name) == wanted, (step, path.name, mirror.events)
                assert mirror.closing.get(path.name) == wanted, (step, path.name, mirror.events)

        publish_and_compare("created")
        for number in range(3):
            cmp.conn.execute("update projects set status = %s", [f"status {number}"])
            publish_and_compare(f"changed {number}")
        (host.root / PROJECT).unlink()
        publish_and_compare("deleted")
        (host.root / PROJECT).write_text("edited by hand")
        publish_and_compare("edited")
        (host.root / MANIFEST).write_text("{}")
        publish_and_compare("manifest edited")


def test_the_last_events_of_a_file_are_its_arrival_and_the_close_by_its_writer(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"old")

    with Mirrors(tmp_path) as mirror:
        replace(tmp_path, NAME, [b"new"])
        mirror.follow()

    assert mirror.last(NAME) == [MOVED_FROM, MOVED_TO, CLOSE_WRITE]


def test_a_swap_that_is_undone_also_ends_with_an_arrival(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"old")

    with Mirrors(tmp_path) as mirror, stage(tmp_path, NAME, [b"new"]) as staged:
        staged.swap()
        staged.swap()
        mirror.follow()

        assert mirror.rereading[NAME] == b"old" == (tmp_path / NAME).read_bytes()


def test_a_mirror_holds_the_file_if_the_file_system_cannot_exchange_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On NFS, or with a C library without renameat2, rename(2) is used."""
    monkeypatch.setattr(exchange, "_libc", object())
    (tmp_path / NAME).write_bytes(b"old")

    with Mirrors(tmp_path) as mirror:
        for content in (b"1", b"2"):
            replace(tmp_path, NAME, [content])
            mirror.follow()
            assert (mirror.rereading[NAME], mirror.moving[NAME], mirror.closing[NAME]) == (content,) * 3
