"""Who may see the page: the address it listens on, the names browsers may use, the token, a proxy's header.

No I/O except `read_token`. `gate` asks `judge` for each request.
"""

from __future__ import annotations

import hmac
import os
import stat
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.config.readers import LOOPBACK, host_and_port
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

Network = IPv4Network | IPv6Network

COOKIE = "omnicdc_ui"
LOGIN = "/login"
STATIC = "/static/"

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

SHORTEST_TOKEN = 16
"""The shortest token in characters. A shorter one can be guessed."""

LONGEST_TOKEN = 4096


@dataclass(frozen=True, slots=True)
class Access:
    """The conditions for a request. Without token and proxies, every request by a right name is admitted."""

    names: frozenset[str]
    """The host names by which browsers reach the page, in lower case. Other names are refused: a foreign page
    could lead its own name to this address (DNS rebinding)."""
    token: str = field(default="", repr=False)
    header: str = ""
    """The header by which a proxy names the user, in lower case."""
    proxies: tuple[Network, ...] = ()
    """The addresses from which the header is trusted."""

    @property
    def is_open(self) -> bool:
        """Whether neither a token nor a proxy's header is needed."""
        return not self.token and not self.header

    @property
    def cookie(self) -> str:
        """The value of the cookie after a login. It is not the token, and a new token makes it invalid."""
        return hmac.digest(self.token.encode(), b"omnicdc ui session", "sha256").hex()


@dataclass(frozen=True, slots=True)
class Request:
    """What the decision depends on."""

    method: str
    path: str
    host: str
    """The header Host."""
    peer: str
    """The address of the other end of the connection; empty if it is not known."""
    cookie: str = ""
    authorization: str = ""
    user: str = ""
    """The value of the header that a proxy sets."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused: the status code, the cause, and the remedy."""

    status: int
    reason: str
    hint: str


def judge(access: Access, request: Request) -> Refusal | None:
    """Return why a request is refused; None if it is admitted."""
    login = request.path == LOGIN and bool(access.token)
    if request.method not in {"GET", "HEAD"} and not (login and request.method == "POST"):
        return Refusal(405, f"the page only reads: {request.method} is not possible", "use the commands")
    if host_name(request.host) not in access.names:
        return Refusal(
            421,
            f"this page is not served under the name {request.host!r:.100}",
            "add `--host NAME` to `omnicdc ui` if browsers shall use this name",
        )
    if access.is_open or login or request.path.startswith(STATIC) or _has_token(access, request):
        return None
    return _lacks_user(access, request)


def _lacks_user(access: Access, request: Request) -> Refusal | None:
    """Return why a request without a token is refused; None if a proxy names its user."""
    if access.header and _trusted(access.proxies, request.peer):
        if request.user:
            return None
        return Refusal(401, f"the proxy named no user in {access.header}", "log in at the proxy")
    if access.token:
        return Refusal(401, "this page needs its token", "log in, or send `Authorization: Bearer TOKEN`")
    return Refusal(403, "this address is not one of the proxies", "use the address of the proxy")


def is_token(access: Access, given: str) -> bool:
    """Return whether `given` is the token, in a time that does not depend on how much of it is right."""
    return bool(access.token) and hmac.compare_digest(access.token.encode(), given.encode(errors="replace"))


def _has_token(access: Access, request: Request) -> bool:
    if not access.token:
        return False
    scheme, _, given = request.authorization.partition(" ")
    if scheme.lower() == "bearer" and is_token(access, given.strip()):
        return True
    return hmac.compare_digest(access.cookie.encode(), request.cookie.encode(errors="replace"))


def _trusted(proxies: Sequence[Network], peer: str) -> bool:
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in proxies)


def host_name(host: str) -> str:
    """Return the name in a Host header, in lower case, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()


def parse_listen(text: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT, [IPV6]:PORT, or of a port of 127.0.0.1. Raises ConfigError."""
    found = host_and_port(text)
    if found is None:
        raise ConfigError(f"--listen: HOST:PORT expected, found {text!r:.100}", hint="as in 127.0.0.1:8713")
    host, port = found
    return host or LOOPBACK, port


def parse_proxies(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return the addresses of the proxies. Raises ConfigError for one that is neither address nor network."""
    found = []
    for text in texts:
        try:
            found.append(ip_network(text))
        except ValueError as exc:
            raise ConfigError(
                f"--proxy: {exc}", hint="an address or a network, as in 10.1.2.3 or 10.1.2.0/24"
            ) from exc
    return tuple(found)


def read_token(path: Path) -> str:
    """Return the token in a file. Raises ConfigError if others may read the file, or if it has no token."""
    make = f"make one: `install -m 600 /dev/null {path}; openssl rand -hex 32 > {path}`"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(LONGEST_TOKEN + 1)
    except OSError as exc:
        raise ConfigError(f"--token-file {path}: {exc.strerror}", hint=make) from exc
    if stat.S_ISREG(mode) and mode & stat.S_IRWXO:
        raise ConfigError(
            f"--token-file {path}: every user of this host can read or write it", hint=f"`chmod o= {path}`"
        )
    token = content.decode(errors="replace").strip()
    if not SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN or not token.isascii() or not token.isprintable():
        raise ConfigError(
            f"--token-file {path}: a token of at least {SHORTEST_TOKEN} characters expected", hint=make
        )
    return token


def access(
    host: str,
    *,
    loopback: bool,
    token_file: str | None,
    header: str | None,
    proxies: Sequence[str],
    names: Sequence[str],
) -> Access:
    """Return the conditions for requests. Raises ConfigError if others could see the page without any."""
    if bool(header) != bool(proxies):
        raise ConfigError(
            "--trust-header and --proxy belong together: from every other address the header may be forged",
            hint="add --trust-header NAME --proxy ADDRESS, as in --trust-header X-Forwarded-User --proxy "
            "10.1.2.3",
        )
    if not loopback and not token_file and not header:
        raise ConfigError(
            f"--listen: {host} is not a loopback address, and without a token every user of the network "
            "could read CMP's projects",
            hint="add --token-file FILE, or --trust-header NAME --proxy ADDRESS; or listen on 127.0.0.1",
        )
    own = {host.lower(), os.uname().nodename.lower(), *LOOPBACK_NAMES, *(name.lower() for name in names)}
    return Access(
        frozenset(own),
        read_token(Path(token_file)) if token_file else "",
        (header or "").lower(),
        parse_proxies(proxies),
    )
