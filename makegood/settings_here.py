"""Settings for a command of an operator: those of the bank that runs on this machine, where nothing
else is said. A module of its own, for most commands should not load what an audit needs.
"""

from pathlib import Path

from makegood.running import running_bank
from makegood.settings import Settings, load_settings


def settings_here(data_dir: Path | None) -> Settings:
    """The settings, pointed at the bank that runs on this machine where nothing else is said."""
    settings = load_settings()
    found = running_bank(data_dir)
    if found is None or "kafka_bootstrap" in settings.model_fields_set:
        return settings
    return settings.model_copy(
        update={
            "kafka_bootstrap": found.kafka_bootstrap,
            "topic_prefix": found.topic_prefix,
            "database_url": found.database_url,
        }
    )
