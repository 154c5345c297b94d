"""Settings for a command of an operator: those of the bank that runs on this machine, where nothing
else is said. A module of its own, for most commands should not load what an audit needs.
"""

from pathlib import Path

from makegood.running import running_bank
from makegood.settings import Settings, SettingsError, load_settings


def settings_here(data_dir: Path | None) -> Settings:
    """The settings, pointed at the bank that runs on this machine where nothing else is said.

    Raises SettingsError when `data_dir` is said, and no bank runs there or the environment names
    one, too: what is then found may be another bank, and records may be written into it.
    """
    settings = load_settings()
    found = running_bank(data_dir)
    named = "kafka_bootstrap" in settings.model_fields_set
    if data_dir is not None and named:
        raise SettingsError("--data-dir and MAKEGOOD_KAFKA_BOOTSTRAP name a bank each: say one")
    if data_dir is not None and found is None:
        raise SettingsError(
            f"no bank runs in {data_dir}: start it with makegood up --data-dir, or name another one"
        )
    if found is None or named:
        return settings
    return settings.model_copy(
        update={
            "kafka_bootstrap": found.kafka_bootstrap,
            "topic_prefix": found.topic_prefix,
            "database_url": found.database_url,
        }
    )
