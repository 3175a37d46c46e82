"""P5: transactions that are pruned from the log or the history can no longer be looked up.

They are never reported as published only because they are missing there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.external_changes import file_instead
from support.host import INVENTORY

from omnicdc import db
from omnicdc.config.settings import Config
from omnicdc.delivery import wait as waits
from omnicdc.delivery.asking import answered
from omnicdc.delivery.observing import begin
from omnicdc.delivery.verdict import decide
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.cmp import Cmp
    from support.host import Host

    from omnicdc.delivery.verdict import Verdict

MAKE_OLD = {
    "history": """update omnicdc.history h set at = clock_timestamp() - interval '30 days'
                   where h.id < (select max(n.id) from omnicdc.history n)""",
    "log": "update omnicdc.change set at = clock_timestamp() - interval '30 days'",
}


PINNED = Config(tables=(("projects", "public.projects"),))
"""For connections whose search_path is PostgreSQL's own."""


def after_pruning(
    cmp: Cmp, pruned: tuple[str, ...], *tokens: str | None, named: Sequence[str] = ()
) -> list[Verdict | None]:
    """Prune the log, the history except its newest generation, or both. Return the verdicts.

    There is a verdict for each token, and for each project in `named`. Everything happens in one transaction,
    which is rolled back.
    """
    with db.connect(cmp.dsn) as conn, conn.transaction(force_rollback=True):
        for table in pruned:
            conn.execute(MAKE_OLD[table].encode())
        conn.execute("select omnicdc.prune('7 days', '1 day')")
        barrier = db.fetch_one(conn, "snapshot")["snapshot"]
        goals = [waits.Goal(token, barrier) for token in tokens]
        goals += [
            answered(conn, begin(None, waits.projects_named(conn, PINNED, [name]), None, all_hosts=False))
            for name in named
        ]
        return [decide(waits.observe(conn, goal)) for goal in goals]


def statuses(cmp: Cmp, *tokens: str, named: Sequence[str] = ()) -> dict[tuple[str, ...], list[str | None]]:
    """Return the statuses after each kind of pruning."""
    kinds: tuple[tuple[str, ...], ...] = ((), ("history",), ("log",), ("history", "log"))
    return {
        kind: [it.status if it else None for it in after_pruning(cmp, kind, *tokens, named=named)]
        for kind in kinds
    }


def write(cmp: Cmp, statement: str) -> str:
    with cmp.transaction() as (conn, token):
        conn.execute(statement.encode())
    return token


def test_a_pruned_transaction_is_published_only_if_nothing_is_held_or_quarantined(
    cmp: Cmp, host: Host
) -> None:
    """Regression: the oldest generation left was treated as the first one that holds the transaction.

    Without its rows in the log, the transaction seemed to concern no project.
    """
    cmp.conn.execute("alter table projects alter name drop not null")
    host.daemon()
    fine = write(cmp, "insert into projects (name) values ('fine')")
    cmp.arrived(fine)
    bad = write(cmp, "insert into projects (key) values ('nameless')")
    cmp.wait(bad)
    cmp.arrived(write(cmp, "update projects set status = 'later' where name = 'fine'"))
    quarantined = statuses(cmp, bad, fine)
    [unlogged] = after_pruning(cmp, ("log",), fine)
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
    assert unlogged
    assert "the log no longer holds what transaction" in unlogged.detail
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
    """It is known if the consumer's history begins with its first start.

    It is not known after the history was pruned.
    """
    before = write(cmp, "insert into projects (name) values ('before the first start')")
    host.daemon()
    cmp.arrived()
    [known, barrier] = after_pruning(cmp, (), before, None)
    cmp.arrived(write(cmp, "update projects set status = 'later'"))
    [pruned, pruned_barrier] = after_pruning(cmp, ("history", "log"), before, None)

    assert known
    assert barrier
    assert pruned
    assert pruned_barrier
    assert (known.generation, barrier.generation) == (1, 1)
    assert (pruned.status, pruned.generation, pruned.registries) == ("published", None, ())
    assert (pruned_barrier.status, pruned_barrier.generation) == ("published", None)


def test_a_transaction_whose_end_is_unknown_is_refused(cmp: Cmp) -> None:
    """PostgreSQL stores the end of some hundred million transactions only.

    An older transaction may have been rolled back.
    """
    ancient = "100"
    assert cmp.value("select pg_xact_status(%s::text::xid8)", ancient) is None
    cmp.conn.execute("update omnicdc.source set pruned_below = '101'")

    with pytest.raises(ConfigError, match="whether transaction 100 was committed is no longer known"):
        cmp.wait(ancient, timeout_s=0)
