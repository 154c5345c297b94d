"""What the projector counts, per journal partition, for Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

from journal.log import Place

_LABELS = ("topic", "partition")

_lag = Gauge("makegood_projection_lag_records", "Journal records not yet projected", _LABELS)
_projected = Counter("makegood_projected_records_total", "Journal records projected", _LABELS)

void_records = Counter(
    "makegood_projection_void_records_total", "Journal records of deposed writers, skipped"
)
write_s = Histogram(
    "makegood_projection_write_seconds",
    "Time of one transaction of the projector",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
conflicts = Counter(
    "makegood_projection_conflicts_total", "Batches given up because another projector was faster"
)
sagas = Gauge(
    "makegood_sagas", "Sagas that have not ended, and those that need a person", ["state"]
)
waiting = Gauge("makegood_projection_waiting", "1: the projector waits for PostgreSQL or Kafka")


def lag(place: Place) -> Gauge:
    return _lag.labels(place.topic, str(place.partition))


def projected(place: Place) -> Counter:
    return _projected.labels(place.topic, str(place.partition))
