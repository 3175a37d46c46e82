"""A connection pooler stands between CMP's server and its clients: the daemon, writers, waiters."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import psycopg
import pytest
from support.pooler import needs_pooler, pooler

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.evidence import Evidence
    from support.host import Host


@needs_pooler
@pytest.mark.parametrize(
    ("mode", "size"),
    [("transaction", 5), ("statement", 5), pytest.param("transaction", 1, marks=pytest.mark.campaign)],
)
def test_a_pooler_that_shares_sessions_is_refused_by_name(
    cmp: Cmp, host: Host, mode: str, size: int, evidence: Evidence
) -> None:
    """P8: the daemon ends with status 2, and writes no file.

    One line names the pooler's mode and the remedy.
    """
    with pooler(cmp, mode, size) as dsn:
        refused = host.run("run", OMNICDC_DSN=dsn)

    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1, refused.stderr
    assert {"transaction": "a pooler in transaction mode", "statement": "as in statement mode"}[
        mode
    ] in refused.stderr
    assert "session mode" in refused.stderr
    assert host.content() == {}
    evidence(
        "P8", f"a pooler in {mode} mode, {size} session{'s' if size > 1 else ''}", times=1,
        found="named at the start: exit 2, one line",
    )  # fmt: skip


@needs_pooler
def test_the_daemon_works_through_a_pooler_in_session_mode_and_clients_through_any(
    cmp: Cmp, host: Host, evidence: Evidence
) -> None:
    """P1, P5: the daemon uses a pooler in session mode.

    Writers, `wait` and `verify` use one in transaction mode.
    """
    with ExitStack() as stack:
        sessions = stack.enter_context(pooler(cmp, "session"))
        transactions = stack.enter_context(pooler(cmp, "transaction"))
        daemon = host.daemon(OMNICDC_DSN=sessions)
        with psycopg.connect(transactions, autocommit=True) as writer:
            writer.prepare_threshold = None
            project = cmp.upsert("pooled", conn=writer, github_url="https://github.com/acme/pooled")
        waited = host.ask("wait", OMNICDC_DSN=transactions)
        verified = host.run("verify", project, OMNICDC_DSN=transactions)
        daemon.stop()

    assert waited["verdict"] == "published"
    assert verified.returncode == 0, verified.stderr
    assert "canary_lost" not in [event["event"] for event in daemon.events]
    evidence(
        "P1 P5", "the daemon through a pooler in session mode, writers and waiters through one in "
                 "transaction mode",
        times=1, found="published, waited for and verified; the canary came back",
    )  # fmt: skip
