"""A service's topics and their settings. Input and journal have the same number of partitions."""

from typing import Final, NamedTuple

from journal.log import Place, TopicSpec

DEAD_LETTERS: Final = "deadletter"

ANSWERS: Final = "answers"
"""What a machine sends there goes to the service's own `ServiceTopics.answers`."""

MAX_INPUT_BYTES: Final = 1024 * 1024
"""The largest batch that an input takes; the broker itself refuses a larger one."""

MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
"""The largest batch that a journal takes."""

_HOUR_MS: Final = 3600 * 1000
_DAY_MS: Final = 24 * _HOUR_MS

# A replica that lags must not become the leader: it would forget what was acknowledged.
_CLEAN: Final = {"unclean.leader.election.enable": "false"}


class ServiceTopics(NamedTuple):
    """The topics of the service `name`."""

    name: str

    @property
    def input(self) -> str:
        return f"{self.name}.input"

    @property
    def journal(self) -> str:
        return f"{self.name}.journal"

    @property
    def snapshots(self) -> str:
        return f"{self.name}.snapshots"

    @property
    def answers(self) -> str:
        return f"{self.name}.answers"

    def journal_at(self, partition: int) -> Place:
        return Place(self.journal, partition)

    def input_spec(self, partitions: int) -> TopicSpec:
        # Inputs are consumed; 7 days leave time to bring a dead service back.
        return TopicSpec(
            self.input,
            partitions,
            {
                **_CLEAN,
                "retention.ms": str(7 * _DAY_MS),
                "max.message.bytes": str(MAX_INPUT_BYTES),
            },
        )

    def specs(self, partitions: int) -> list[TopicSpec]:
        return [
            self.input_spec(partitions),
            # The journal is the truth: kept for ever, never compacted.
            TopicSpec(
                self.journal,
                partitions,
                {
                    **_CLEAN,
                    # An owner whose clock is further ahead (less than the accounts' 5 minutes) must
                    # not write: effects would look forgotten.
                    "message.timestamp.after.max.ms": "240000",
                    "retention.ms": "-1",
                    "retention.bytes": "-1",
                    "cleanup.policy": "delete",
                    "max.message.bytes": str(MAX_BATCH_BYTES + 64 * 1024),
                },
            ),
            # Whoever asked listens already: nobody reads answers that are old.
            TopicSpec(
                self.answers,
                partitions,
                {
                    "retention.ms": str(_HOUR_MS),
                    "segment.ms": str(_HOUR_MS // 4),
                    "segment.bytes": str(64 * 1024 * 1024),
                    "max.message.bytes": str(MAX_BATCH_BYTES + 64 * 1024),
                },
            ),
            TopicSpec(
                self.snapshots,
                partitions,
                {
                    "cleanup.policy": "compact",
                    "segment.bytes": str(16 * 1024 * 1024),
                    "segment.ms": "600000",
                    "min.cleanable.dirty.ratio": "0.1",
                    "delete.retention.ms": "600000",
                    "max.message.bytes": str(MAX_BATCH_BYTES + 64 * 1024),
                },
            ),
        ]


def dead_letter_spec(partitions: int) -> TopicSpec:
    return TopicSpec(
        DEAD_LETTERS,
        partitions,
        {"retention.ms": "-1", "max.message.bytes": str(MAX_BATCH_BYTES + 64 * 1024)},
    )
