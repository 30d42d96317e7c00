"""Metrics: what Prometheus reads at /metrics."""

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The numbers of one server, in a registry of their own.

    Args:
        waiting: the jobs in the queue now.
    """

    def __init__(self, waiting: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter("pixelwise_requests", "Requests answered.", ["route", "status"], registry=self.registry)
        self.seconds = Histogram(
            "pixelwise_request_seconds",
            "Seconds from a request's headers to the end of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.refusals = Counter("pixelwise_refusals", "Requests refused.", ["code"], registry=self.registry)
        self.predict = Histogram(
            "pixelwise_predict_seconds",
            "Seconds of a pass of the network, with what follows it.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batch = Histogram(
            "pixelwise_batch_pictures", "Pictures a pass.", buckets=(1, 2, 4, 8, 16, 32), registry=self.registry
        )
        self.pixels = Counter("pixelwise_pixels", "Pixels segmented.", ["model"], registry=self.registry)
        self.left = Counter("pixelwise_clients_left", "Jobs dropped as the client left.", registry=self.registry)
        self.corrections = Counter("pixelwise_corrections", "Pairs saved.", ["model"], registry=self.registry)
        gauge = Gauge("pixelwise_queue_waiting", "Pictures that wait.", registry=self.registry)
        gauge.set_function(waiting)

    def passed(self, count: int, seconds: float) -> None:
        """A pass of the network is done."""
        self.batch.observe(count)
        self.predict.observe(seconds)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self.registry)
