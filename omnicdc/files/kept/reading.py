"""Reads kept generations. `store` writes them, at the same time, in the daemon."""

from __future__ import annotations

import os
import pwd
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.errors import ConfigError, RegistryError
from omnicdc.files.kept.places import Places, RecordName
from omnicdc.files.kept.record import decode
from omnicdc.filesystem import regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from omnicdc.files.kept.record import KeptGeneration

OF_THE_SERVICE = Path("/var/lib/omnicdc")
"""The state directory of the daemon under systemd."""

KEPT_ANEW = "`systemctl reload omnicdc`: the daemon checks what it keeps, and the next generation is whole"


class KeptGenerations:
    """The kept generations of a state directory. Another process may add and drop some meanwhile."""

    def __init__(self, state_dir: Path, *, off: bool = False) -> None:
        """Read their names. `off` is whether `keep_generations` is 0.

        Raises ConfigError if there are none, or if this user may not read them.
        """
        self._state_dir, self._places = state_dir, Places.below(state_dir)
        with self._readable():
            try:
                self.names: Sequence[RecordName] = self._places.record_names()
            except FileNotFoundError:
                self.names = ()
        if not self.names:
            raise _none_kept(state_dir, off=off)

    def read(self, name: RecordName) -> KeptGeneration:
        """Return the record of a generation. Raises ConfigError if it was dropped meanwhile or is damaged."""
        with self._readable():
            try:
                return decode(regular.read(self._places.record(name)))
            except FileNotFoundError as exc:
                raise ConfigError(f"generation {name.generation} is no longer kept") from exc
            except ValueError as exc:
                raise RegistryError(
                    f"the record of generation {name.generation} is damaged", hint=KEPT_ANEW
                ) from exc

    def blocks(
        self, name: RecordName, wanted: Iterable[tuple[int, str]], *, what: str
    ) -> Iterator[tuple[str, bytes]]:
        """Yield digest and bytes of each wanted block of `what`, a registry of the generation.

        Raises ConfigError if the generation was dropped meanwhile, and RegistryError if a block is missing or
        damaged.
        """
        for length, digest in wanted:
            data = self._block(name, digest, what) if length else b""
            if len(data) != length or sha256(data).hexdigest() != digest:
                raise RegistryError(
                    f"{what} of generation {name.generation} cannot be read: "
                    f"block {self._places.block(digest)} is damaged",
                    hint=KEPT_ANEW,
                )
            yield digest, data

    def _block(self, name: RecordName, digest: str, what: str) -> bytes:
        with self._readable():
            try:
                return regular.read(self._places.block(digest))
            except FileNotFoundError as exc:
                self.read(name)  # if the generation was dropped meanwhile, that is the reason
                raise RegistryError(
                    f"{what} of generation {name.generation} cannot be read: "
                    f"block {self._places.block(digest)} is missing",
                    hint=KEPT_ANEW,
                ) from exc

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn an error of the operating system into a ConfigError."""
        try:
            yield
        except PermissionError as exc:
            owner = _owner(self._state_dir)
            readers = " and ".join(dict.fromkeys((owner, "root")))
            raise ConfigError(
                f"only {readers} may read the kept generations in {self._places.top}",
                hint=f"`sudo -u {owner} omnicdc …`",
            ) from exc
        except OSError as exc:
            raise ConfigError(f"the kept generations in {self._places.top} cannot be read: {exc}") from exc


def _none_kept(state_dir: Path, *, off: bool) -> ConfigError:
    if off:
        return ConfigError(
            "no generations are kept: `keep_generations` is 0",
            hint="set `keep_generations: 100`, then `systemctl reload omnicdc`",
        )
    where = OF_THE_SERVICE if os.access(Places.below(OF_THE_SERVICE).top, os.F_OK) else "DIR"
    return ConfigError(
        f"no generations are kept in {state_dir}",
        hint=f"name the daemon's state directory: --state-dir {where} or OMNICDC_STATE_DIR; if it is this "
        "one, see `omnicdc status`",
    )


def _owner(directory: Path) -> str:
    """Return the name of a directory's owner; that of the service if it cannot be found out."""
    try:
        return pwd.getpwuid(directory.stat().st_uid).pw_name
    except (OSError, KeyError):
        return "omnicdc"
