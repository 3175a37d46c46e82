"""Text from the database cannot control the terminal of a user who runs a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.host import COMMAND, Host
from support.terminal import on_a_terminal

if TYPE_CHECKING:
    from support.evidence import Evidence
    from support.sessions import People


def test_status_shows_control_characters_as_text(
    host: Host, people: People, owner: str, evidence: Evidence
) -> None:
    """A hold reason quotes an error of the server, and the owner of CMP's table can choose its text."""
    escape = "\x1b]0;mine\x07\x1b[2J"
    with people.connect(owner) as conn:
        conn.execute(
            f"""create type public.shape as (what text);
                create function public.rail(public.shape) returns text language plpgsql as
                  $rail$ begin raise exception '%{escape}' using errcode = '22000'; end $rail$;
                create cast (public.shape as text) with function public.rail(public.shape);
                alter table projects alter type type public.shape using row(type)::public.shape;
                insert into projects (name) values ('apollo')""".replace("%", "").encode()
        )
    host.run("run", "--once")
    shown = on_a_terminal([COMMAND, "status"], host.env).raw

    assert "mine" in shown
    assert "\x1b]" not in shown
    assert "\x1b[2J" not in shown
    evidence(
        "",
        "control characters in an error of the server's, shown by `status`",
        times=1,
        found="shown as text",
    )
