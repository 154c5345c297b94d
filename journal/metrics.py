"""What the kernel counts, per service and partition, for Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

from journal.log import Place

_LABELS = ("service", "partition")

_inputs = Counter("makegood_inputs_total", "Inputs handled", _LABELS)
_events = Counter("makegood_events_total", "Events committed", _LABELS)
_sent = Counter("makegood_outputs_sent_total", "Outputs confirmed by their topic", _LABELS)
_waiting = Gauge(
    "makegood_outputs_waiting",
    "Outputs that a participant's topic has not confirmed",
    (*_LABELS, "destination"),
)
_send_failures = Counter("makegood_send_failures_total", "Sends that failed", _LABELS)
_duplicates = Counter("makegood_link_duplicates_total", "Inputs dropped as duplicates", _LABELS)
_gaps = Counter("makegood_link_gaps_total", "Inputs refused because one before is due", _LABELS)
_dead_letters = Counter("makegood_dead_letters_total", "Inputs that nobody can use", _LABELS)
_void = Counter("makegood_void_records_total", "Journal records of deposed writers", _LABELS)
_openings = Counter("makegood_openings_total", "Times the partition was taken over", _LABELS)
_halted = Gauge("makegood_partition_halted", "1: the partition needs a person", _LABELS)
_commit_s = Histogram(
    "makegood_commit_seconds",
    "Time of an append until it is acknowledged",
    _LABELS,
    buckets=(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 15),
)
_restore_s = Gauge("makegood_restore_seconds", "How long the last restore took", _LABELS)


class PartitionMetrics:
    """The metrics of one partition, bound once."""

    def __init__(self, service: str, partition: int) -> None:
        self._labels = labels = (service, str(partition))
        self.inputs = _inputs.labels(*labels)
        self.events = _events.labels(*labels)
        self.sent = _sent.labels(*labels)
        self.send_failures = _send_failures.labels(*labels)
        self.duplicates = _duplicates.labels(*labels)
        self.gaps = _gaps.labels(*labels)
        self.dead_letters = _dead_letters.labels(*labels)
        self.void = _void.labels(*labels)
        self.openings = _openings.labels(*labels)
        self.halted = _halted.labels(*labels)
        self.commit_s = _commit_s.labels(*labels)
        self.restore_s = _restore_s.labels(*labels)

    def waiting(self, place: Place) -> Gauge:
        return _waiting.labels(*self._labels, str(place))
