"""The command `ui`: serves the page."""

from __future__ import annotations

import signal
import socket
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import options
from omnicdc.cli.command import Answering
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from omnicdc.cli.ui.access import Access
    from omnicdc.config.settings import Config

STOP_S = 3
"""After a stop is requested, an answer that is under way gets so many seconds."""

BACKLOG = 128


@click.command(cls=Answering)
@options.registries
@click.option(
    "--listen",
    default="127.0.0.1:8713",
    show_default=True,
    metavar="HOST:PORT",
    help="The address to serve on.",
)
@click.option("--token-file", metavar="FILE", help="A file with the token that browsers must give.")
@click.option(
    "--trust-header",
    metavar="NAME",
    help="Admit whom a proxy names in this header, as X-Forwarded-User. Needs --proxy.",
)
@click.option("--proxy", "proxies", multiple=True, metavar="ADDRESS", help="The address of that proxy.")
@click.option("--host", "names", multiple=True, metavar="NAME", help="A further name that browsers may use.")
def ui(
    *,
    listen: str,
    token_file: str | None,
    trust_header: str | None,
    proxies: tuple[str, ...],
    names: tuple[str, ...],
    **given: Any,
) -> None:
    """Serve a page that shows the estate: consumers, registries, projects, and what is held back.

    The page only reads. It needs the role omnicdc_client; with --root it also compares the registries of this
    host with CMP. On an address other than a loopback address it needs --token-file, or --trust-header and
    --proxy. It ends with SIGTERM or Ctrl-C.

    \b
    omnicdc ui
    omnicdc ui --listen 0.0.0.0:8713 --token-file /etc/omnicdc/ui.token
    """
    _require_extra()
    from omnicdc.cli.ui import access
    from omnicdc.registries.catalog import registries

    config = options.load(given)
    registries(config)  # a declared registry that cannot be is reported now
    host, port = access.parse_listen(listen)
    found = _address(host, port)
    admitted = access.access(
        host,
        loopback=ip_address(found[1][0].partition("%")[0]).is_loopback,
        token_file=token_file,
        header=trust_header,
        proxies=proxies,
        names=names,
    )
    _serve(config, admitted, _bound(found, listen))


def _require_extra() -> None:
    """Raise ConfigError if the packages of the extra are missing."""
    missing = [name for name in ("starlette", "uvicorn", "jinja2") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"`omnicdc ui` needs {', '.join(missing)}", hint="run `pip install 'omnicdc[ui]'`")


_Address = tuple[socket.AddressFamily, tuple[Any, ...]]


def _address(host: str, port: int) -> _Address:
    """Return the first address of a host. Raises ConfigError if it has none."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as exc:
        raise ConfigError(
            f"--listen: {host} has no address: {exc.strerror}", hint="as in 127.0.0.1:8713"
        ) from exc
    return family, address


def _bound(address: _Address, listen: str) -> socket.socket:
    """Return a socket that listens. Raises ConfigError if the address cannot be used."""
    family, where = address
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(where)
        listening.listen(BACKLOG)
    except OSError as exc:
        listening.close()
        from omnicdc.daemon.metrics.endpoint import remedy

        raise ConfigError(
            f"--listen: {listen} cannot be used: {exc.strerror}", hint=remedy(exc.errno, where[1])
        ) from exc
    return listening


def _serve(config: Config, admitted: Access, listening: socket.socket) -> None:
    import uvicorn

    from omnicdc.cli.ui.app import application
    from omnicdc.cli.ui.live import Board
    from omnicdc.stop import Stop

    board = Board(config)

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            board.close()  # else the event streams would keep it waiting
            await super().shutdown(sockets)

    # uvicorn repeats a signal at its end, for the handler that was there before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, Stop())
    settings = uvicorn.Config(
        application(config, admitted, board),
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # the address of the other end decides who is trusted
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=STOP_S,
        lifespan="on",
    )
    name, port = listening.getsockname()[:2]
    where = f"[{name}]" if ":" in name else name
    click.echo(f"http://{where}:{port}/ shows the estate; Ctrl-C ends it", err=True)
    Server(settings).run(sockets=[listening])
