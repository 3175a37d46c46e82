"""P5: what the log or the history no longer holds cannot be known.

It is never called published because of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.external_changes import file_instead
from support.host import INVENTORY

from omnicdc import db
from omnicdc.delivery import wait as waits
from omnicdc.delivery.verdict import decide
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.cmp import Cmp
    from support.host import Host

    from omnicdc.delivery.verdict import Verdict

OLD = {
    "history": """update omnicdc.history h set at = clock_timestamp() - interval '30 days'
                   where h.id < (select max(n.id) from omnicdc.history n)""",
    "log": "update omnicdc.change set at = clock_timestamp() - interval '30 days'",
}


def after_pruning(
    cmp: Cmp, pruned: tuple[str, ...], *tokens: str | None, named: Sequence[str] = ()
) -> list[Verdict | None]:
    """Return the verdicts after the log, or the history but for its newest generation, was pruned.

    Of transactions, and of the projects `named`, each by itself. All of it happens in one transaction, which
    is rolled back.
    """
    with db.connect(cmp.dsn) as conn, conn.transaction(force_rollback=True):
        for table in pruned:
            conn.execute(OLD[table].encode())
        conn.execute("select omnicdc.prune('7 days', '1 day')")
        barrier = db.fetch_one(conn, "snapshot")["snapshot"]
        goals = [waits.Goal(token, barrier) for token in tokens]
        goals += [
            waits._goal(
                conn, None, waits.projects_named(conn, "public.projects", [name]), None, all_hosts=False
            )
            for name in named
        ]
        return [decide(waits.observe(conn, goal)) for goal in goals]


def statuses(cmp: Cmp, *tokens: str, named: Sequence[str] = ()) -> dict[tuple[str, ...], list[str | None]]:
    """Return the verdicts after each kind of pruning."""
    kinds: tuple[tuple[str, ...], ...] = ((), ("history",), ("log",), ("history", "log"))
    return {
        kind: [it.status if it else None for it in after_pruning(cmp, kind, *tokens, named=named)]
        for kind in kinds
    }


def write(cmp: Cmp, statement: str) -> str:
    with cmp.transaction() as (conn, token):
        conn.execute(statement.encode())
    return token


def test_a_transaction_of_before_the_pruning_is_published_only_if_nothing_is_withheld(
    cmp: Cmp, host: Host
) -> None:
    """The oldest generation that was left was taken for the first that showed it.

    Without its rows, no project was its own.
    """
    cmp.conn.execute("alter table projects alter name drop not null")
    host.daemon()
    fine = write(cmp, "insert into projects (name) values ('fine')")
    cmp.arrived(fine)
    bad = write(cmp, "insert into projects (key) values ('nameless')")
    cmp.wait(bad)
    cmp.arrived(write(cmp, "update projects set status = 'later' where name = 'fine'"))
    quarantined = statuses(cmp, bad, fine)
    [why] = after_pruning(cmp, ("log",), fine)
    cmp.conn.execute("update projects set name = 'named' where name is null")
    cmp.arrived()
    named = statuses(cmp, bad, fine)
    file_instead((host.root / INVENTORY).parent)
    held = write(
        cmp,
        "insert into projects (name, metadata_) values ('x', '{\"github_url\": \"https://github.com/a/x\"}')",
    )
    cmp.wait(held)
    other = write(cmp, "update projects set status = 'again' where name = 'fine'")
    cmp.arrived(other)
    cmp.arrived(write(cmp, "update projects set status = 'and again' where name = 'fine'"))
    behind = statuses(cmp, held, other, fine)
    by_name = statuses(cmp, named=("x", "fine", "named"))

    assert quarantined == {
        (): ["quarantined", "published"],
        ("history",): ["quarantined", "published"],
        ("log",): ["quarantined", "quarantined"],
        ("history", "log"): ["quarantined", "quarantined"],
    }
    assert why
    assert "the log no longer holds what transaction" in why.detail
    assert set(map(tuple, named.values())) == {("published", "published")}
    assert behind == {
        (): ["held", "published", "published"],
        ("history",): ["held", "held", "published"],
        ("log",): ["held", "published", "published"],
        ("history", "log"): ["held", "held", "published"],
    }
    assert by_name == {
        (): ["held", "published", "published"],
        ("history",): ["held", "held", "published"],
        ("log",): ["held", "held", "held"],
        ("history", "log"): ["held", "held", "held"],
    }


def test_a_generation_is_named_only_if_it_is_known_to_be_the_first(cmp: Cmp, host: Host) -> None:
    """Of a consumer whose history begins with its first start it is.

    Of one whose history was pruned it is not.
    """
    before = write(cmp, "insert into projects (name) values ('before the first start')")
    host.daemon()
    cmp.arrived()
    [known, barrier] = after_pruning(cmp, (), before, None)
    cmp.arrived(write(cmp, "update projects set status = 'later'"))
    [forgotten, everything] = after_pruning(cmp, ("history", "log"), before, None)

    assert known
    assert barrier
    assert forgotten
    assert everything
    assert (known.generation, barrier.generation) == (1, 1)
    assert (forgotten.status, forgotten.generation, forgotten.registries) == ("published", None, ())
    assert (everything.status, everything.generation) == ("published", None)


def test_a_transaction_whose_end_is_forgotten_is_not_called_published(cmp: Cmp) -> None:
    """PostgreSQL knows for some hundred million transactions how each ended.

    One from before may have been rolled back.
    """
    ancient = "100"
    assert cmp.value("select pg_xact_status(%s::text::xid8)", ancient) is None
    cmp.conn.execute("update omnicdc.source set pruned_below = '101'")

    with pytest.raises(ConfigError, match="whether transaction 100 was committed is no longer known"):
        cmp.wait(ancient, timeout_s=0)
