"""What the collector counts, for Prometheus. Metrics are for watching; the audit's balance never reads them."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

ACK_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """One collector's metrics, in a registry of their own."""

    def __init__(self, inflight_bytes: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        self.received = self._counter("events_received", "events that came in a readable request", "source")
        self.accepted = self._counter("events_accepted", "events that are durable in the log", "source")
        self.rejected = self._counter("events_rejected", "events kept as rejected", "source", "code")
        self.refused = self._counter("requests_refused", "requests answered 4xx or 5xx", "status", "code")
        self.ack_seconds = Histogram(
            "headrace_ack_seconds",
            "from a mapped request to its durable records",
            registry=self._registry,
            buckets=ACK_BUCKETS,
        )
        Gauge("headrace_inflight_bytes", "bodies that wait for their answer", registry=self._registry).set_function(
            inflight_bytes
        )

    def exposition(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"headrace_{name}", text, labels, registry=self._registry)
