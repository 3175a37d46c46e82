"""`omnicdc ui` as a process, and its event stream."""

from __future__ import annotations

import json
import re
import signal
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx
from psycopg.conninfo import make_conninfo
from support.host import COMMAND, DEADLINE_S, process

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping

_numbers = count()


class Page:
    """A running page. Its log has no traceback when it ends."""

    def __init__(self, running: subprocess.Popen[str], url: str, name: str) -> None:
        self.process, self.url = running, url
        self.name = name
        """The application name of its connections to CMP."""
        self.client = httpx.Client(base_url=url, timeout=DEADLINE_S)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Return the answer to a request, without following a redirection."""
        return self.client.get(path, headers=headers)

    @contextmanager
    def events(self, view: str = "overview") -> Iterator[Iterator[dict[str, Any]]]:
        """Open the event stream; give its states."""
        with self.client.stream("GET", f"/events?view={view}") as answer:
            assert answer.status_code == 200
            lines = (line for line in answer.iter_lines() if line.startswith("data: "))
            yield (json.loads(line.removeprefix("data: ")) for line in lines)

    def stop(self) -> tuple[int, str]:
        """Send SIGTERM; return the exit status and the log."""
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, log


@contextmanager
def page(
    environ: Mapping[str, str], *arguments: str, listen: str = "127.0.0.1:0", **env: str
) -> Iterator[Page]:
    """Serve the page, and stop it at the end."""
    name = f"page-{next(_numbers)}"
    named = {"OMNICDC_DSN": make_conninfo(environ["OMNICDC_DSN"], application_name=name)}
    running = process([COMMAND, "ui", "--listen", listen, *arguments], {**environ, **named, **env})
    try:
        assert running.stderr
        line = running.stderr.readline()
        found = re.match(r"(http://\S+)/ shows", line)
        assert found, line + running.stderr.read()
        served = Page(running, found[1], name)
        yield served
        served.client.close()
        if running.poll() is None:
            status, log = served.stop()
            assert not log, log
            assert status == 0
    finally:
        if running.poll() is None:
            running.kill()
        for pipe in (running.stdout, running.stderr):
            if pipe:
                pipe.close()
        running.wait()
