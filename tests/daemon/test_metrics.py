"""Metrics and health of a daemon, as Prometheus, node_exporter and a load balancer read them."""

from __future__ import annotations

import re
import signal
import socket
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from psycopg import sql as pgsql
from support.agents import declare
from support.host import CANONICAL, until
from support.scrape import address, get, scrape, values

from omnicdc.daemon.metrics.facts import BOUNDS_S, Done, Histogram
from omnicdc.daemon.metrics.meter import Totals

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg
    from support.cmp import Cmp
    from support.host import Host

DOCS = Path(__file__).parents[2] / "docs"
CANONICAL_NAME = Path(CANONICAL).name
OF_CANONICAL = f'{{registry="{CANONICAL_NAME}"}}'


def test_a_duration_is_counted_in_the_first_bucket_that_holds_it() -> None:
    histogram = Histogram().with_value(0.0001).with_value(0.00011).with_value(61.0)

    assert histogram.counts == (1, 1, *(0,) * (len(BOUNDS_S) - 2), 1)
    assert histogram.sum_s == pytest.approx(61.00021)


def test_a_cycle_that_rewrites_no_file_is_no_generation() -> None:
    done = Done().with_cycle(3, {"read": 1.0}, {"a": 10}).with_cycle(1, {"read": 2.0, "scan": 1.0}, {})

    assert (done.generations, done.changes) == (1, 4)
    assert done.writes == {"a": 1}
    assert done.written_bytes == {"a": 10}
    assert {stage: sum(it.counts) for stage, it in done.stages.items()} == {"read": 2, "scan": 1}
    assert done.cycles.sum_s == pytest.approx(0.004)


def test_a_count_goes_on_when_its_owner_begins_again() -> None:
    totals, first, second = Totals(), object(), object()
    counts = [(first, 2), (first, 2), (first, 3), (second, 0), (second, 4), (second, 4)]

    assert [totals.add("key", owner, count) for owner, count in counts] == [2, 2, 3, 3, 7, 7]


def test_a_scrape_shows_what_happened(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    textfile = tmp_path / "omnicdc.prom"
    host.env |= declare(tmp_path, "on_publish: ['false']\nhook_interval_s: 10ms\n")
    host.env |= {"OMNICDC_METRICS": "127.0.0.1:0", "OMNICDC_METRICS_TEXTFILE": str(textfile)}
    daemon = host.daemon()
    url = address(daemon)
    cmp.fill(30)
    cmp.arrived()
    (host.root / CANONICAL).write_text("edited")
    daemon.wait_for("drift_found")
    cmp.arrived()
    until(lambda: host.raw(CANONICAL) != b"edited", "the registry is restored")
    cmp.conn.execute("delete from projects")
    daemon.wait_for("held", registry=CANONICAL_NAME)
    until(lambda: scrape(url)[f"omnicdc_registry_held{OF_CANONICAL}"], "the scrape shows the hold")
    daemon.wait_for("hook_failed")
    until(lambda: scrape(url).get("omnicdc_canary_ok") is not None, "the self-test has a result")
    text = get(url + "/metrics")[1]
    found = values(text)
    ready = get(url + "/readyz")
    transactions = cmp.value("select count(distinct xid) from omnicdc.change where source <> 0")

    assert found["omnicdc_connected"] == found["omnicdc_capture_ok"] == found["omnicdc_canary_ok"] == 1
    assert found["omnicdc_changes_total"] == 60
    assert found["omnicdc_log_transactions_total"] == transactions
    assert found[f"omnicdc_registry_entries{OF_CANONICAL}"] == 30
    assert found[f"omnicdc_registry_drift_total{OF_CANONICAL}"] == 1
    assert found[f"omnicdc_registry_size_bytes{OF_CANONICAL}"] == len(host.raw(CANONICAL))
    writes = found[f"omnicdc_registry_writes_total{OF_CANONICAL}"]
    assert 3 <= writes <= found["omnicdc_generations_total"]
    assert found[f"omnicdc_registry_written_bytes_total{OF_CANONICAL}"] > len(host.raw(CANONICAL))
    assert found['omnicdc_hook_runs_total{hook="on_publish",result="failure"}'] >= 1
    assert found['omnicdc_hook_failing{hook="on_publish"}'] == 1
    assert found["omnicdc_cycle_duration_seconds_count"] >= 3
    assert found['omnicdc_stage_duration_seconds_bucket{le="+Inf",stage="publish"}'] >= 3
    assert abs(found["omnicdc_last_publication_timestamp_seconds"] - time.time()) < 600
    assert ready[0] == 503
    assert f"{CANONICAL_NAME} is held: " in ready[1]
    assert "`omnicdc status`" in ready[1]
    assert get(url + "/healthz") == (200, "ok\n")
    _is_documented(text)
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))):
        assert daemon.stop() == 0  # a client that says nothing does not delay it
    last = textfile.read_text()
    assert _kinds(last) == _kinds(text)
    assert textfile.stat().st_mode & 0o777 == 0o644
    assert values(last)[f"omnicdc_registry_held{OF_CANONICAL}"] == 1
    assert values(last)["omnicdc_connected"] == 0


def _kinds(text: str) -> dict[str, str]:
    """Return metric to type, as a scrape declares it."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def _is_documented(text: str) -> None:
    """Assert that docs/monitoring.md lists exactly these metrics, with their types."""
    page = (DOCS / "monitoring.md").read_text("utf-8")
    assert dict(re.findall(r"^\| `(omnicdc_\w+)` \| (\w+) \|", page, re.MULTILINE)) == _kinds(text)


def test_what_does_not_work_is_a_fault_and_delays_nothing(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    """A taken port and a missing directory: each is named with its remedy, and works once that was done."""
    directory = tmp_path / "textfile"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        daemon = host.daemon(OMNICDC_METRICS=str(port), OMNICDC_METRICS_TEXTFILE=f"{directory}/o.prom")
        daemon.wait_for("metrics_not_served")
        daemon.wait_for("textfile_not_written")
        cmp.upsert("apollo")
        cmp.arrived()
        until(lambda: len(host.ask("status")["faults"]) == 2, "both faults are in the status")
        faults = host.ask("status")["faults"]
    directory.mkdir()
    url = address(daemon)
    until(lambda: host.ask("status")["healthy"], "no fault is left")

    assert f"metrics: cannot listen on 127.0.0.1:{port}: Address already in use - `ss -ltnp" in faults[0]
    assert f"metrics_textfile: cannot write {directory}/o.prom: No such file or directory" in faults[1]
    assert f"`mkdir -p {directory} && chown " in faults[1]
    assert get(url + "/readyz") == (200, "ok\n")
    assert values((directory / "o.prom").read_text())["omnicdc_changes_total"] == 1


@contextmanager
def closed(admin: psycopg.Connection[tuple[object, ...]], cmp: Cmp) -> Iterator[None]:
    """End every session of CMP's database but the test's own, and accept no other, in the `with` block."""
    name = pgsql.Identifier(cmp.value("select current_database()"))
    alter = pgsql.SQL("alter database {} allow_connections {}")
    admin.execute(alter.format(name, pgsql.SQL("false")))
    cmp.conn.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    try:
        yield
    finally:
        admin.execute(alter.format(name, pgsql.SQL("true")))


def test_a_lost_session_shows_and_counters_go_on(
    cmp: Cmp, host: Host, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    daemon = host.daemon(OMNICDC_METRICS="127.0.0.1:0")
    url = address(daemon)
    cmp.upsert("apollo")
    cmp.arrived()
    before = scrape(url)
    with closed(admin, cmp):
        until(lambda: get(url + "/readyz")[0] == 503, "it is not ready")
        reason, first = get(url + "/readyz")[1], scrape(url)["omnicdc_lag_seconds"]
        until(lambda: scrape(url)["omnicdc_lag_seconds"] > first, "the lag grows")
        alone = scrape(url)
    until(lambda: get(url + "/readyz")[0] == 200, "it is ready again")
    cmp.upsert("gemini")
    cmp.arrived()
    until(lambda: scrape(url)["omnicdc_changes_total"] == before["omnicdc_changes_total"] + 1, "both count")
    after = scrape(url)

    assert reason.startswith("no session with CMP's database")
    assert alone["omnicdc_connected"] == 0
    assert get(url + "/healthz")[0] == 200
    assert (before["omnicdc_reconnects_total"], after["omnicdc_reconnects_total"]) == (0, 1)
    assert after["omnicdc_generations_total"] == before["omnicdc_generations_total"] + 1


def test_a_reload_switches_it_on_and_off(host: Host, tmp_path: Path) -> None:
    file, textfile = tmp_path / "omnicdc.yaml", tmp_path / "o.prom"
    file.write_text("poll_s: 500ms\n")
    daemon = host.daemon(OMNICDC_CONFIG=str(file))

    def reload(settings: str) -> int:
        file.write_text("poll_s: 500ms\n" + settings)
        at = len(daemon.events)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("reloaded", after=at)
        return at

    url = address(daemon, after=reload(f"metrics: 127.0.0.1:0\nmetrics_textfile: {textfile}\n"))
    until(textfile.exists, "the file is written")
    until(lambda: get(url + "/readyz")[0] == 200, "it is ready")
    reload("")
    until(lambda: not textfile.exists(), "no old values stay behind")

    with pytest.raises(OSError, match="refused"):
        get(url + "/metrics")
    assert daemon.stop() == 0


def test_a_run_for_cron_writes_its_textfile(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    textfile = tmp_path / "o.prom"
    cmp.upsert("apollo")
    host.env["OMNICDC_METRICS_TEXTFILE"] = str(textfile)
    host.once()
    found = values(textfile.read_text())

    assert found["omnicdc_generations_total"] == 1
    assert found[f"omnicdc_registry_entries{OF_CANONICAL}"] == 1
    assert found["omnicdc_log_rows"] == 1
    assert found["omnicdc_connected"] == 1
