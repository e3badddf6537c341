"""What the server counts, in Prometheus's text form."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from dreamprm.serving.batching import BatchFigures

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one server; in a registry of its own, so that several can stand in one process.

    Args:
        in_flight: requests that are being received, waiting or being scored now.
    """

    def __init__(self, in_flight: Callable[[], float]) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "dreamprm_requests", "Requests answered.", ["endpoint", "status"], registry=registry
        )
        self.seconds = Histogram(
            "dreamprm_request_seconds",
            "From a request's headers to its answer.",
            ["endpoint"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.dropped = Counter(
            "dreamprm_requests_dropped", "Requests whose client hung up before the answer.", registry=registry
        )
        self.unscorable = Counter(
            "dreamprm_responses_unscorable",
            "Responses that were given the reward of reward.unscorable.",
            registry=registry,
        )
        self._candidates = Counter("dreamprm_candidates", "Candidates scored.", registry=registry)
        self._tokens = Counter(
            "dreamprm_tokens", "Tokens that the model read, common beginnings once.", registry=registry
        )
        self._failures = Counter(
            "dreamprm_model_failures", "Batches in which the model raised.", registry=registry
        )
        self._batch = Histogram(
            "dreamprm_batch_tasks", "Questions of requests per batch.", buckets=_SIZES, registry=registry
        )
        self._model = Histogram(
            "dreamprm_model_seconds", "Of the model, per batch.", buckets=_SECONDS, registry=registry
        )
        self._waited = Histogram(
            "dreamprm_queue_seconds", "Waiting for the model.", buckets=_SECONDS, registry=registry
        )
        gauge = Gauge("dreamprm_requests_in_flight", "Received, waiting or being scored.", registry=registry)
        gauge.set_function(in_flight)

    def batch(self, figures: BatchFigures) -> None:
        """Count a batch."""
        self._batch.observe(figures.tasks)
        self._model.observe(figures.seconds)
        self._tokens.inc(figures.tokens)
        if figures.failed:
            self._failures.inc()
        else:
            self._candidates.inc(figures.candidates)
        for seconds in figures.waited:
            self._waited.observe(seconds)

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self._registry)
