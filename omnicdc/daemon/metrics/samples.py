"""Gives the facts their names and types for Prometheus. A pure mapping; docs/monitoring.md explains each.

Every metric has the label `consumer`, because node_exporter may read the files of two daemons. No label holds
a project, so the number of series is bounded by the number of registries and hooks.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.openmetrics import exposition as openmetrics

from omnicdc.daemon.metrics.facts import BOUNDS_S, Histogram
from omnicdc.log.timings import ORDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from omnicdc.daemon.metrics.facts import Facts, RegistryFacts

END = b"# EOF\n"
"""The last line of the format OpenMetrics. Prometheus' own text format has none."""

OPENMETRICS = "application/openmetrics-text"

Values = dict[tuple[str, ...], float | None]
"""The values of a metric by the values of its labels. None is left out: it is not known."""


def samples(facts: Facts) -> Iterator[Metric]:
    """Return all metrics of these facts."""
    yield from _moving(facts)
    yield from _resting(facts)


def exposition(facts: Facts) -> bytes:
    """Return all metrics in Prometheus' text format."""
    return generate_latest(_Fixed(samples(facts)))


class Exposition:
    """All metrics, in the format that a scrape asks for. Any thread may call it.

    While the daemon is idle, only what moves with time is rendered again: rendering takes most of a scrape.
    """

    def __init__(self, facts: Callable[[], Facts]) -> None:
        self._facts = facts
        self._rendered: dict[str, tuple[Facts, bytes]] = {}

    def __call__(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics, and their content type. `accept` is the header of the request."""
        # prometheus_client's own choice fails for a header that is not as it expects.
        encoder: Callable[[CollectorRegistry], bytes]
        if OPENMETRICS in accept:
            encoder, content_type = openmetrics.generate_latest, openmetrics.CONTENT_TYPE_LATEST
        else:
            encoder, content_type = generate_latest, CONTENT_TYPE_PLAIN_0_0_4
        facts = self._facts()
        resting = replace(facts, turned_s=0.0, lag_s=0.0, backlog=0)
        known, rendered = self._rendered.get(content_type, (None, b""))
        if known != resting:
            rendered = encoder(_Fixed(_resting(resting)))
            self._rendered[content_type] = resting, rendered
        return encoder(_Fixed(_moving(facts))).removesuffix(END) + rendered, content_type


class _Fixed(CollectorRegistry):
    """These metrics, as a registry of prometheus_client."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        super().__init__(auto_describe=False)
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _moving(facts: Facts) -> Iterator[Metric]:
    """Return the metrics that may move although nothing happens."""
    gauge = _Naming(facts.consumer).gauge
    yield gauge(
        "omnicdc_lag_seconds",
        "For how long a committed change may be missing in the files; 0 while nothing waits.",
        facts.lag_s,
    )
    yield gauge("omnicdc_backlog_changes", "Changes that are known and not published yet.", facts.backlog)
    yield gauge(
        "omnicdc_loop_age_seconds", "Seconds since the daemon's loop last made progress.", facts.turned_s
    )


def _resting(facts: Facts) -> Iterator[Metric]:
    naming = _Naming(facts.consumer)
    yield naming.info("omnicdc_build", "The version of omnicdc.", {"version": facts.version})
    yield from _whole(facts, naming)
    yield from _registries(facts, naming)
    yield from _hooks(facts, naming)
    yield from _stages(facts, naming)


class _Naming:
    """Makes metrics with the label `consumer`."""

    def __init__(self, consumer: str) -> None:
        self._consumer = consumer

    def gauge(self, name: str, text: str, values: Values | float | None, *labels: str) -> Metric:
        return self._filled(GaugeMetricFamily(name, text, labels=("consumer", *labels)), values)

    def counter(self, name: str, text: str, values: Values | float | None, *labels: str) -> Metric:
        return self._filled(CounterMetricFamily(name, text, labels=("consumer", *labels)), values)

    def info(self, name: str, text: str, values: Mapping[str, str]) -> Metric:
        found = InfoMetricFamily(name, text, labels=("consumer",))
        found.add_metric((self._consumer,), dict(values))
        return found

    def histogram(
        self, name: str, text: str, values: Mapping[tuple[str, ...], Histogram], *labels: str
    ) -> Metric:
        found = HistogramMetricFamily(name, text, labels=("consumer", *labels))
        for key, histogram in values.items():
            bounds = [*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"]
            buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
            found.add_metric((self._consumer, *key), buckets, histogram.sum_s)
        return found

    def _filled(
        self, family: GaugeMetricFamily | CounterMetricFamily, values: Values | float | None
    ) -> Metric:
        for key, value in values.items() if isinstance(values, dict) else [((), values)]:
            if value is not None:
                family.add_metric((self._consumer, *key), float(value))
        return family


def _whole(facts: Facts, naming: _Naming) -> Iterator[Metric]:
    """Return the metrics of the whole daemon."""
    gauge, counter, done, canary = naming.gauge, naming.counter, facts.done, facts.canary
    yield gauge("omnicdc_connected", "1 while the daemon has a session with CMP's database.", facts.connected)
    yield gauge("omnicdc_start_time_seconds", "When metrics began, as Unix time.", facts.started_at)
    yield counter(
        "omnicdc_generations_total", "Generations: cycles that rewrote at least one file.", done.generations
    )
    yield gauge(
        "omnicdc_last_publication_timestamp_seconds",
        "When the last generation was published, as Unix time. Missing before the first one.",
        facts.last_published_at,
    )
    yield counter("omnicdc_changes_total", "Rows of the log that were read and acknowledged.", done.changes)
    yield counter(
        "omnicdc_log_transactions_total", "Transactions of the log that were read.", facts.transactions
    )
    yield counter(
        "omnicdc_notifications_total",
        "Notifications that arrived: one for each transaction that had to notify.",
        facts.notifications,
    )
    yield gauge(
        "omnicdc_log_rows",
        "Rows of the log in the database; above 10,000 PostgreSQL's estimate. Counted once a minute.",
        facts.log_rows,
    )
    yield counter("omnicdc_reconnects_total", "Sessions that replaced a lost one.", facts.reconnects)
    yield gauge("omnicdc_capture_ok", "1 if the triggers in CMP log every change.", not facts.capture_fault)
    yield gauge("omnicdc_canary_ok", "1 if the last self-test passed.", canary.passed)
    yield gauge(
        "omnicdc_canary_latency_seconds",
        "How long the last self-test that passed took, from the commit to the acknowledgement.",
        canary.took_s,
    )
    yield gauge(
        "omnicdc_canary_success_timestamp_seconds",
        "When a self-test last passed, as Unix time.",
        canary.passed_at,
    )


def _registries(facts: Facts, naming: _Naming) -> Iterator[Metric]:
    done, found = facts.done, facts.registries

    def gauge(name: str, text: str, value: Callable[[RegistryFacts], float | None]) -> Metric:
        return naming.gauge(name, text, {(it,): value(one) for it, one in found.items()}, "registry")

    def counter(name: str, text: str, value: Callable[[str], float]) -> Metric:
        return naming.counter(name, text, {(it,): value(it) for it in found}, "registry")

    yield gauge("omnicdc_registry_entries", "Entries of the published file.", lambda it: it.entries)
    yield gauge("omnicdc_registry_size_bytes", "Size of the published file.", lambda it: it.size)
    yield gauge(
        "omnicdc_registry_published_timestamp_seconds",
        "When the file was last rewritten, as Unix time.",
        lambda it: it.published_at,
    )
    yield gauge(
        "omnicdc_registry_held",
        "1 if the file keeps its last good content, because of the guard or of a fault.",
        lambda it: it.held,
    )
    yield gauge(
        "omnicdc_registry_quarantined",
        "Projects that are left out of the file because of a fault in their data.",
        lambda it: it.quarantined,
    )
    yield counter(
        "omnicdc_registry_drift_total",
        "How often the file was changed outside omnicdc.",
        lambda name: found[name].drifts,
    )
    yield counter(
        "omnicdc_registry_writes_total",
        "How often the file was rewritten.",
        lambda name: done.writes.get(name, 0),
    )
    yield counter(
        "omnicdc_registry_written_bytes_total",
        "Bytes of all these rewrites.",
        lambda name: done.written_bytes.get(name, 0),
    )


def _hooks(facts: Facts, naming: _Naming) -> Iterator[Metric]:
    runs: Values = {}
    for name, it in facts.hooks.items():
        runs |= {(name, "success"): it.succeeded, (name, "failure"): it.failed}
    yield naming.counter(
        "omnicdc_hook_runs_total", "Runs of a command after publications.", runs, "hook", "result"
    )
    yield naming.gauge(
        "omnicdc_hook_failing",
        "1 if the last run of the command failed. It is repeated.",
        {(name,): it.failing for name, it in facts.hooks.items()},
        "hook",
    )


def _stages(facts: Facts, naming: _Naming) -> Iterator[Metric]:
    stages = facts.done.stages
    yield naming.histogram(
        "omnicdc_stage_duration_seconds",
        "Duration of each stage of a cycle, from the write of the newest change to the acknowledgement.",
        {(stage,): stages.get(stage, Histogram()) for stage in ORDER},
        "stage",
    )
    yield naming.histogram(
        "omnicdc_cycle_duration_seconds", "Duration of all stages of a cycle.", {(): facts.done.cycles}
    )
