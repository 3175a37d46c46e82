"""Who may see the page: names, tokens, proxies, and what is refused at the start."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest
from ui.page import page

from omnicdc.cli.ui.access import Access, Request, host_name, judge, parse_listen
from omnicdc.cli.ui.access import access as make_access
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host

TOKEN = "a-token-of-a-test-0123456789"
OPEN = Access(frozenset({"localhost", "127.0.0.1"}))
TOKENED = Access(OPEN.names, token=TOKEN)
PROXIED = Access(OPEN.names, header="x-forwarded-user", proxies=(ip_network("10.1.0.0/16"),))


@pytest.mark.parametrize(
    ("access", "facts", "status"),
    [
        (OPEN, {}, None),
        (OPEN, {"method": "HEAD"}, None),
        (OPEN, {"method": "POST"}, 405),
        (OPEN, {"method": "POST", "path": "/login"}, 405),
        (OPEN, {"host": "evil.example"}, 421),
        (OPEN, {"host": ""}, 421),
        (OPEN, {"host": "LOCALHOST:8713"}, None),
        (TOKENED, {}, 401),
        (TOKENED, {"path": "/static/ui.css"}, None),
        (TOKENED, {"path": "/login", "method": "POST"}, None),
        (TOKENED, {"path": "/login/../guard"}, 401),
        (TOKENED, {"authorization": f"Bearer {TOKEN}"}, None),
        (TOKENED, {"authorization": f"Basic {TOKEN}"}, 401),
        (TOKENED, {"authorization": f"Bearer {TOKEN}x"}, 401),
        (TOKENED, {"cookie": TOKENED.cookie}, None),
        (TOKENED, {"cookie": TOKEN}, 401),
        (TOKENED, {"cookie": ""}, 401),
        (TOKENED, {"user": "eve", "peer": "10.1.2.3"}, 401),
        (PROXIED, {"peer": "10.1.2.3", "user": "ada"}, None),
        (PROXIED, {"peer": "::ffff:10.1.2.3", "user": "ada"}, None),
        (PROXIED, {"peer": "10.1.2.3"}, 401),
        (PROXIED, {"peer": "10.2.2.3", "user": "ada"}, 403),
        (PROXIED, {"peer": "", "user": "ada"}, 403),
        (PROXIED, {"cookie": PROXIED.cookie}, 403),
    ],
)
def test_a_request_is_judged_by_its_facts(access: Access, facts: dict[str, str], status: int | None) -> None:
    request = Request(
        **({"method": "GET", "path": "/", "host": "127.0.0.1:8713", "peer": "127.0.0.1"} | facts)
    )
    refusal = judge(access, request)

    assert (refusal.status if refusal else None) == status
    assert TOKEN not in repr(access)


def test_names_of_a_host_header() -> None:
    names = [host_name(it) for it in ("a:1", "A", "[::1]:80", "[::1]", "::1", "a.example:b:c")]

    assert names == ["a", "a", "::1", "::1", "::1", "a.example:b:c"]


def test_conditions_under_which_others_could_read_are_refused(tmp_path: Path) -> None:
    files = {
        "readable": (TOKEN, 0o644),
        "short": ("short", 0o600),
        "blank": ("two words here, no token" + chr(7), 0o600),
    }
    for name, (text, mode) in files.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "is not a loopback address"),
        ({"token_file": str(tmp_path / "readable")}, "chmod o="),
        ({"token_file": str(tmp_path / "short")}, "at least 16 characters"),
        ({"token_file": str(tmp_path / "blank")}, "at least 16 characters"),
        ({"token_file": str(tmp_path / "none")}, "openssl rand"),
        ({"header": "X-User"}, "belong together"),
        ({"proxies": ["10.1.2.3"]}, "belong together"),
        ({"header": "X-User", "proxies": ["nowhere"]}, "an address or a network"),
    ]
    usual: dict[str, Any] = {
        "loopback": False,
        "token_file": None,
        "header": None,
        "proxies": [],
        "names": [],
    }
    for given, reason in cases:
        with pytest.raises(ConfigError) as refused:
            make_access("10.0.0.1", **usual | given)
        assert reason in str(refused.value)
        assert "\n" not in str(refused.value)
    for listen in (":8713", "host:", "host:70000", "host:1\u00b2", "::1:8713", "off"):
        with pytest.raises(ConfigError):
            parse_listen(listen)
    assert parse_listen("[::1]:8713") == ("::1", 8713)
    assert parse_listen("8713") == ("127.0.0.1", 8713)


def test_the_command_refuses_to_start_with_one_line(host: Host) -> None:
    done = host.run("ui", "--listen", "0.0.0.0:0")

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "is not a loopback address" in done.stderr
    assert "--token-file FILE" in done.stderr


def test_an_address_that_is_in_use_is_named(cmp: Cmp, host: Host) -> None:
    with page(host.env | {"OMNICDC_DSN": cmp.dsn}) as served:
        done = host.run("ui", "--listen", served.url.removeprefix("http://"))

    assert done.returncode == 2
    assert "Address already in use" in done.stderr


def test_a_token_opens_the_page_by_header_and_by_login(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    env = host.env | {"OMNICDC_DSN": cmp.dsn}
    with page(env, "--token-file", str(file), "--host", "cdc.example", listen="0.0.0.0:0") as served:
        served.client.base_url = served.url.replace("0.0.0.0", "127.0.0.1")
        closed, events = served.get("/"), served.get("/events")
        by_header = served.get("/", Authorization=f"Bearer {TOKEN}", Host="cdc.example")
        wrong = served.client.post("/login", data={"token": "wrong"})
        right = served.client.post("/login", data={"token": TOKEN})
        by_cookie = served.get("/")

    assert (closed.status_code, events.status_code, wrong.status_code) == (401, 401, 403)
    assert "<form" in closed.text
    assert by_header.status_code == 200
    assert (right.status_code, right.headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=lax"} <= {*right.headers["set-cookie"].split("; ")}
    assert TOKEN not in right.headers["set-cookie"]
    assert by_cookie.status_code == 200
