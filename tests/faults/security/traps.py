"""Functions of another user that write into the server's log which role runs them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from support.cmp import Cmp


TRAP = "TRAP_EXECUTED"
"""The word that marks these lines of the log."""


class Traps:
    """Reads from the server's log which functions were run, and as which role.

    A line of the log is kept when the transaction is rolled back.
    """

    def __init__(self, cmp: Cmp) -> None:
        directory = Path(str(conninfo_to_dict(cmp.dsn)["host"]))
        self._log = directory / "log"
        if not self._log.is_file():
            pytest.skip("needs the log of the embedded server: OMNICDC_TEST_DSN names another")
        self._read = self._log.stat().st_size

    @staticmethod
    def body(what: str, value: str = "null") -> str:
        """Return the body of such a function, in plpgsql."""
        report = f"raise log '{TRAP} {what} as %', current_user;"
        return f"$trap$ begin {report} return {value}; end $trap$"

    def executed(self) -> list[str]:
        """Return what was run since the last call, and as which role: `FUNCTION as ROLE`."""
        with self._log.open(errors="replace") as log:
            log.seek(self._read)
            found = re.findall(rf"LOG:  {TRAP} (.*)$", log.read(), re.MULTILINE)
            self._read = log.tell()
        return found
