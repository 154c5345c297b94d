"""What can be configured, all by environment variables that begin with `MAKEGOOD_`."""

import socket
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from journal.kafka_log import KafkaAddress


class SettingsError(Exception):
    """A setting is wrong; the text names the variable and the remedy."""


class Settings(BaseSettings):
    """Every process of the bank reads the same settings."""

    model_config = SettingsConfigDict(env_prefix="MAKEGOOD_", extra="ignore")

    kafka_bootstrap: str = "127.0.0.1:9092"
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    kafka_username: str | None = None
    kafka_password: str | None = None
    kafka_replication: int = Field(default=0, ge=0, le=10)
    """Replicas of the topics that are made; 0: 3, or the number of brokers if smaller."""
    topic_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,60}$")
    database_url: str = "postgresql+asyncpg://makegood@127.0.0.1:5432/makegood"

    partitions: int = Field(default=4, ge=1, le=1000)
    """Of each service's input and journal; fixed when the topics are made."""
    instance: str = Field(default_factory=socket.gethostname, max_length=100)
    """This process's name in its role: keep it over restarts, give each process another one."""
    effect_horizon_days: float = Field(default=7, gt=0, le=3650)
    saga_memory_days: float = Field(default=8, gt=0, le=3650)
    """For how long an Idempotency-Key is remembered after its transfer has ended. A day longer
    than effects at least: a saga that begins anew must find none of its old effects."""
    payout_accounts: dict[str, str] = {}
    """Currency -> the bank's own account that payouts in it are booked to, as JSON; with one at
    least, `external_payout` can be started."""
    payout_url: str = ""
    """Where the payout bridge posts payouts: https, or http on this machine."""
    payout_secret: SecretStr = SecretStr("")
    """What the payout bridge signs its requests with: at least 32 bytes."""
    payout_timeout_s: float = Field(default=10, gt=0, le=25)
    """How long one request of the payout bridge may take."""
    start_timeout_s: float = Field(default=60, gt=0)
    """How long to wait for Kafka and PostgreSQL at start."""

    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8080, ge=0, le=65535)
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Prometheus metrics of a role without an API; 0: none."""
    log_format: Literal["console", "json"] = "json"
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"

    def kafka(self, client: str) -> KafkaAddress:
        return KafkaAddress(
            bootstrap=self.kafka_bootstrap,
            prefix=self.topic_prefix,
            client_id=f"makegood-{client}",
            security_protocol=self.kafka_security,
            sasl_mechanism=self.kafka_sasl_mechanism,
            username=self.kafka_username,
            password=self.kafka_password,
            replication=self.kafka_replication,
        )

    @model_validator(mode="after")
    def _sagas_outlive_effects(self) -> Self:
        if self.saga_memory_days < self.effect_horizon_days + 1:
            raise ValueError(
                "MAKEGOOD_SAGA_MEMORY_DAYS must be at least MAKEGOOD_EFFECT_HORIZON_DAYS + 1, "
                f"here {self.effect_horizon_days + 1:g}"
            )
        return self


def load_settings() -> Settings:
    """Raises SettingsError."""
    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"MAKEGOOD_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" if e["loc"] else e["msg"]
            for e in error.errors()
        ]
        raise SettingsError("Wrong settings: " + "; ".join(lines)) from None
