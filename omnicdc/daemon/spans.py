"""Sends a span for each traced change, from its write to its publication, to an OpenTelemetry collector.

A writer sets `omnicdc.traceparent` in its transaction, and the capture logs it. The span's parent is the
writer's span. Importing this module needs the extra `otel`. OpenTelemetry reads its OTEL_* variables itself.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from omnicdc import __version__
from omnicdc.log.events import Repeating

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from omnicdc.model import Generation

SPAN = "omnicdc publish"

HINT = "is the collector of OTEL_EXPORTER_OTLP_ENDPOINT running? These spans are dropped"

LEAVE_S = 0.5
"""Seconds that the end of the daemon waits for the last spans."""


class Spans:
    """The spans of one process. A thread of OpenTelemetry sends them; what it cannot send is dropped."""

    def __init__(self, consumer: str) -> None:
        resource = Resource.create({
            "service.name": "omnicdc",
            "service.version": __version__,
            "service.instance.id": consumer,
        })  # fmt: skip
        self.consumer = consumer
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_Exporter()))
        self._tracer = self._provider.get_tracer("omnicdc", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def published(self, generation: Generation) -> None:
        """Make a span for each trace of a generation. This returns at once."""
        now_ns, now = time.time_ns(), time.monotonic()
        for trace in generation.traces:
            parent = self._propagator.extract({"traceparent": trace.traceparent})
            span = self._tracer.start_span(
                SPAN,
                parent,
                kind=SpanKind.CONSUMER,
                start_time=now_ns - round((now - trace.written_at) * 1e9),
                attributes={
                    "omnicdc.generation": generation.number,
                    "omnicdc.consumer": self.consumer,
                    "omnicdc.registries": generation.registries,
                    "omnicdc.changes": generation.changes,
                },
            )
            span.end(now_ns)

    def end(self) -> None:
        """Send the last spans, if the collector takes them quickly."""
        thread = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        thread.start()
        thread.join(LEAVE_S)


class _Reasons(logging.Handler):
    """Keeps the last message of OpenTelemetry, which logs each failure several times."""

    last = "no reason given"

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage().splitlines()[0]


class _Exporter(SpanExporter):
    """Sends spans by OTLP over HTTP. A failure is one log event, repeated at growing intervals."""

    def __init__(self) -> None:
        self._reasons = _Reasons()
        library = logging.getLogger("opentelemetry")
        library.propagate = False
        library.handlers = [self._reasons]
        self._exporter = OTLPSpanExporter()
        self._failing = Repeating("spans_not_sent", time.monotonic)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._failing.recovered()
        else:
            reason = self._reasons.last
            self._failing.failed(reason, error=reason, spans=len(spans), hint=HINT)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call] # it has no types
