"""A writer's trace reaches the log line of its generation, and the collector as a span below the writer's."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from support.host import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Daemon, Host

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
NOT_SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-00"


class Collector:
    """An OTLP/HTTP receiver: the spans that arrived, and the attributes of their resource."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append({it.key: it.value.string_value for it in resource.resource.attributes})
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]


@contextmanager
def collector() -> Iterator[tuple[Collector, str]]:
    """Serve a collector; gives it and its URL."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            found.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def record_writers(host: Host) -> None:
    done = host.run("install", "--record-writers")
    assert done.returncode == 0, done.stderr


def write(cmp: Cmp, traceparent: str, name: str) -> None:
    """Write a project in a transaction with this trace context, and wait until it is published."""
    with cmp.conn.transaction():
        cmp.conn.execute("select set_config('omnicdc.traceparent', %s, true)", (traceparent,))
        cmp.upsert(name)
    cmp.arrived()


def test_a_traced_change_gives_a_span_below_the_writers_span(cmp: Cmp, host: Host) -> None:
    """Also where a daemon was already running when writers began to be recorded."""
    with collector() as (received, url):
        daemon = host.daemon(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_BSP_SCHEDULE_DELAY="50")
        record_writers(host)
        until(lambda: _is_named(cmp, daemon), "the daemon knows that writers are recorded")
        received.spans.clear()
        known = len(daemon.events)
        began_ns = time.time_ns()
        write(cmp, TRACEPARENT, "apollo")
        cmp.arrived()  # a generation of its own
        cmp.upsert("untraced")
        cmp.arrived()
        write(cmp, NOT_SAMPLED, "gemini")
        until(lambda: received.spans, "a span arrived")
        assert daemon.stop() == 0
    logged = [it for it in daemon.events[known:] if it.get("traceparents")]
    [span] = received.spans
    attributes = {it.key: it.value for it in span.attributes}

    assert [it["traceparents"] for it in logged] == [[TRACEPARENT], [NOT_SAMPLED]]
    assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == ("omnicdc publish", TRACE, PARENT)
    assert began_ns < span.start_time_unix_nano < span.end_time_unix_nano < time.time_ns()
    assert attributes["omnicdc.generation"].int_value == logged[0]["generation"]
    assert attributes["omnicdc.changes"].int_value == logged[0]["changes"]  # a self-test may be among them
    assert attributes["omnicdc.consumer"].string_value == "host"
    registries = [it.string_value for it in attributes["omnicdc.registries"].array_value.values]
    assert registries == logged[0]["registries"]
    assert received.resources[0]["service.name"] == "omnicdc"


def _is_named(cmp: Cmp, daemon: Daemon) -> bool:
    """Write with a trace context that makes no span; return whether a log line ever named it."""
    write(cmp, NOT_SAMPLED, "probe")
    cmp.conn.execute("delete from projects")
    return any(it.get("traceparents") for it in daemon.events)


def test_a_collector_that_is_gone_is_one_event_and_delays_nothing(cmp: Cmp, host: Host) -> None:
    record_writers(host)
    daemon = host.daemon(
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_BSP_SCHEDULE_DELAY="50",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
    )
    write(cmp, TRACEPARENT, "apollo")
    event = daemon.wait_for("spans_not_sent")
    write(cmp, TRACEPARENT, "gemini")

    assert daemon.stop() == 0
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in event["hint"]
    assert [it["event"] for it in daemon.events if it["event"] in ("spans_not_sent", "library")] == [
        "spans_not_sent"
    ]
    assert not daemon.noise


def test_a_missing_extra_is_a_fault_only_where_spans_are_asked_for(host: Host, tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry/__init__.py").write_text("raise ImportError('No module named opentelemetry')")
    file = tmp_path / "omnicdc.yaml"
    file.write_text("otel: auto\n")
    host.env["OMNICDC_CONFIG"] = str(file)
    daemon = host.daemon(PYTHONPATH=str(tmp_path), OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    automatic = host.ask("status")["faults"]
    file.write_text("otel: on\n")
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: host.ask("status")["faults"], "the fault is in the status")

    assert automatic == []
    [fault] = host.ask("status")["faults"]
    assert "otel: No module named opentelemetry - `pip install 'omnicdc[otel]'`" in fault
