"""The store of kept generations: equal blocks once, within its bounds, and whole after damage and kills."""

from __future__ import annotations

import os
import shutil
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from omnicdc.errors import OmnicdcError, RegistryError
from omnicdc.files.kept.bounds import Bounds, Room, Usage, excess
from omnicdc.files.kept.places import Places
from omnicdc.files.kept.reading import KeptGenerations
from omnicdc.files.kept.record import KeptGeneration, decode, encode
from omnicdc.files.kept.store import Store, remove_all
from omnicdc.files.manifest import Manifest, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AT = datetime(2026, 11, 22, 20, 59, 55, 573397, tzinfo=UTC)
PATH = "governance/registry/some.json"
MUCH = Bounds(100, 1 << 30)


class Host:
    """A registry file in four blocks, and the state directory."""

    def __init__(self, where: Path) -> None:
        self.file, self.state = where / "some.json", where / "state"
        self.places = Places.below(self.state)
        self.state.mkdir()

    def generation(self, number: int) -> KeptGeneration:
        """Write the file of a generation. Each has a header and a block of its own."""
        parts = [b"header %d\n" % number, b"same\n" * 9, b"entry %d\n" % number, b""]
        self.file.write_bytes(b"".join(parts))
        blocks = [(len(part), sha256(part).hexdigest()) for part in parts]
        published = describe(blocks, self.file.stat(), 9)
        manifest = Manifest("höst", number, "10:20:", AT, {PATH: published})
        return KeptGeneration(
            manifest, "/root", 1, ("some.json",), {"x": "why"}, {}, {"read": 1.5}, {PATH: 0o640}
        )

    def keep(self, store: Store, number: int, reserve: int = 0) -> bytes:
        """Keep a generation; return the bytes of its file."""
        kept = self.generation(number)
        with self.file.open("rb") as file:
            store.keep(kept, {PATH: file.fileno()}, reserve)
        return self.file.read_bytes()

    def shown(self) -> dict[int, bytes]:
        """Return the file of each kept generation."""
        try:
            store = KeptGenerations(self.state)
        except OmnicdcError:
            return {}
        return {name.generation: self.read(store, name.generation) for name in store.names}

    @staticmethod
    def read(store: KeptGenerations, number: int) -> bytes:
        [name] = [name for name in store.names if name.generation == number]
        blocks = store.read(name).manifest.registries[PATH].blocks
        return b"".join(data for _, data in store.blocks(name, blocks, what="some.json"))

    def blocks(self) -> set[str]:
        return {it.name for it in self.places.blocks.iterdir()}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@contextmanager
def opened(host: Host, bounds: Bounds = MUCH) -> Iterator[Store]:
    with closing(Store(host.state, bounds)) as store:
        yield store


def test_a_record_is_read_as_it_was_written(host: Host) -> None:
    kept = host.generation(7)

    assert decode(encode(kept)) == kept


def test_a_generation_adds_only_the_blocks_that_changed(host: Host) -> None:
    with opened(host) as store:
        first = host.keep(store, 1)
        before = host.blocks()
        second = host.keep(store, 2)
        host.keep(store, 2)

    assert len(before) == 3
    assert len(host.blocks() - before) == 2
    assert host.shown() == {1: first, 2: second}
    assert {it.stat().st_mode & 0o777 for it in host.places.top.rglob("*")} == {0o700, 0o600}


def test_the_oldest_generations_are_dropped_with_the_blocks_that_no_other_has(host: Host) -> None:
    with opened(host, Bounds(3, 1 << 30)) as store:
        files = {number: host.keep(store, number) for number in range(1, 8)}

    assert host.shown() == {number: files[number] for number in (5, 6, 7)}
    assert len(host.blocks()) == 1 + 2 * 3


def test_the_size_is_bounded_as_a_disk_counts_it(host: Host) -> None:
    record, own, shared = 1, 2, 1
    with opened(host, Bounds(100, (shared + 3 * (own + record)) * 4096)) as store:
        for number in range(1, 8):
            host.keep(store, number)

    assert [*host.shown()] == [5, 6, 7]


def test_a_generation_that_does_not_fit_alone_is_refused_with_the_setting(host: Host) -> None:
    with (
        opened(host, Bounds(100, 4096)) as store,
        pytest.raises(RegistryError, match="`keep_bytes`") as refused,
    ):
        host.keep(store, 1)

    assert "keep_generations: 0" in refused.value.hint


def test_room_that_the_next_publication_needs_is_left(host: Host) -> None:
    with opened(host) as store:
        host.keep(store, 1)
        found = os.statvfs(host.state)
        too_much = found.f_blocks * found.f_frsize
        with pytest.raises(RegistryError, match="the next publication needs room"):
            host.keep(store, 2, reserve=too_much)
    with opened(host) as store:
        host.keep(store, 3)
        store.give_way(too_much)

    assert host.shown() == {}
    assert host.blocks() == set()


@pytest.mark.parametrize(
    ("generations", "size", "free", "files", "bound"),
    [
        (3, 30, 5, 100, None),
        (4, 30, 5, 100, "generations"),
        (3, 31, 5, 100, "size"),
        (3, 30, 4, 100, "disk"),
        (3, 30, 5, 99, "disk"),
    ],
)
def test_a_bound_is_exceeded_only_beyond_it(
    generations: int, size: int, free: int, files: int, bound: str | None
) -> None:
    usage = Usage(generations, size, Room(free, files), reserve=5)

    assert excess(Bounds(3, 30), usage) == bound
    assert excess(Bounds(9, 90), Usage(generations, size, Room(0, 0), reserve=0)) is None


def test_two_daemons_do_not_share_a_store(host: Host) -> None:
    with opened(host), pytest.raises(RegistryError, match="another daemon keeps") as refused:
        Store(host.state, MUCH)

    assert "state_dir" in refused.value.hint


def test_what_is_damaged_is_reported_and_the_next_generation_is_whole(host: Host) -> None:
    """Each kind of damage concerns a block that the next generation needs as well."""
    shared = sha256(b"same\n" * 9).hexdigest()
    damages: list[tuple[Callable[[Path], object], str]] = [
        (Path.unlink, "is missing"),
        (lambda block: os.truncate(block, 5), "is damaged"),
        (lambda block: block.write_bytes(b"x" * 45), "is damaged"),
    ]
    for number, (damage, reason) in enumerate(damages, start=1):
        with opened(host) as store:
            host.keep(store, number)
        damage(host.places.block(shared))
        with pytest.raises(RegistryError, match=f"{shared} {reason}") as found:
            host.read(KeptGenerations(host.state), number)
        with opened(host) as store:
            content = host.keep(store, number + 1)

        assert "systemctl reload omnicdc" in found.value.hint
        assert host.shown()[number + 1] == content


def test_a_damaged_record_is_removed(host: Host) -> None:
    with opened(host) as store:
        host.keep(store, 1)
        kept = host.keep(store, 2)
    first, _ = sorted(host.places.records.iterdir())
    first.write_bytes(b"")
    with opened(host):
        pass

    assert host.shown() == {2: kept}


def test_a_store_that_is_removed_meanwhile_begins_anew(host: Host) -> None:
    with opened(host) as store:
        host.keep(store, 1)
        shutil.rmtree(host.places.top)
        with pytest.raises(RegistryError):
            host.keep(store, 2)
    with opened(host) as store:
        kept = host.keep(store, 2)

    assert host.shown() == {2: kept}


class Ended(BaseException):
    """The process ends: nothing is cleaned up on the disk."""


def test_wherever_it_ends_each_record_finds_its_blocks_and_the_next_one_goes_on(host: Host) -> None:
    """The oldest generation is dropped, and its blocks are removed, in the same steps."""
    with opened(host, Bounds(2, 1 << 30)) as store:
        files = {number: host.keep(store, number) for number in (1, 2)}
    number, last_step, steps = 2, 0, list[str]()
    while not steps or steps[-1] != "keep done":
        number, last_step, steps = number + 1, last_step + 1, []

        def observe(step: str, steps: list[str] = steps, last: int = last_step) -> None:
            steps.append(step)
            if len(steps) == last:
                raise Ended

        with suppress(Ended), closing(Store(host.state, Bounds(2, 1 << 30), observe)) as store:
            files[number] = host.keep(store, number)
        files[number] = host.file.read_bytes()
        shown = host.shown()
        assert shown.items() <= files.items(), steps
        assert shown, steps
        number += 1
        with opened(host, Bounds(2, 1 << 30)) as store:
            files[number] = host.keep(store, number)
        assert [*host.shown()][-1] == number
        assert len(host.blocks()) == 1 + 2 * len(host.shown()), steps

    assert {"keep open", "keep drop", "keep remove", "keep block", "keep record"} <= {*steps}


def test_nothing_is_left_once_it_is_off(host: Host) -> None:
    with opened(host) as store:
        host.keep(store, 1)
    remove_all(host.state)
    remove_all(host.state)

    with pytest.raises(OmnicdcError, match="`keep_generations` is 0"):
        KeptGenerations(host.state, off=True)
    assert not [*host.places.blocks.iterdir(), *host.places.records.iterdir()]
