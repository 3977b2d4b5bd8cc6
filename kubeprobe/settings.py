"""The settings of one KubeProbe process: built once at start-up from KUBEPROBE_*, handed down from there."""

from datetime import timedelta
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _default_data_dir() -> Path:
    """`.kubeprobe` in the working folder: `make run` and a later shell in the same folder meet there."""
    return Path.cwd() / ".kubeprobe"


class Settings(BaseSettings):
    """What an installation can be told from outside. Durations are seconds or ISO 8601 (`PT30S`)."""

    model_config = SettingsConfigDict(env_prefix="KUBEPROBE_", frozen=True, extra="forbid")

    data_dir: Path = Field(
        default_factory=_default_data_dir, description="where SQLite, keys and the embedded parts live"
    )
    database_url: str = Field(default="", description="SQLAlchemy address; empty: SQLite in data_dir")
    broker_url: str = Field(default="", description="Redis or Valkey; empty: what `kubeprobe up` wrote into data_dir")
    secret_key: SecretStr | None = Field(
        default=None,
        description="Fernet key that encrypts credentials; empty: kept in data_dir/secret.key (mode 0600)",
    )
    pool: str = Field(default="default", description="the pool that this launcher or collector serves")
    launch_concurrency: int = Field(default=16, ge=1, description="pods that one launch batch creates at a time")
    batch_size: int = Field(default=50, ge=1, description="runs of one cluster that one message carries")
    resend_after: timedelta = Field(
        default=timedelta(seconds=5), description="a pending run unheard of for so long is sent again"
    )
    claim_timeout: timedelta = Field(
        default=timedelta(seconds=40), description="a launcher silent for so long has lost its claim"
    )
    lost_after: timedelta = Field(
        default=timedelta(minutes=5),
        description="past its deadlines, how long a run may stay without an outcome",
    )
    launch_within: timedelta = Field(
        default=timedelta(minutes=10), description="how long a run may wait for a launcher or for room"
    )
    patience: timedelta = Field(
        default=timedelta(seconds=60), description="how long a run waits for a cluster that does not take its pod"
    )
    lease: timedelta = Field(
        default=timedelta(seconds=10), description="how long a collector holds a cluster unrenewed"
    )
    sweep_every: timedelta = Field(
        default=timedelta(minutes=5), gt=timedelta(0), description="how often what killed probes left is looked for"
    )
    keep_outcomes: timedelta = Field(
        default=timedelta(days=30), description="age at which runs and outcomes are removed"
    )
    log_tail: int = Field(default=200, ge=0, description="lines of log kept of a run that did not pass")
    log_format: str = Field(default="console", pattern="^(console|json)$")

    def database(self) -> str:
        """The address of the store."""
        return self.database_url or f"sqlite:///{self.data_dir / 'kubeprobe.db'}"

    def local_kubeconfig(self) -> Path:
        """Where the local cluster of this data_dir writes how to reach it."""
        return self.data_dir / "localcluster.kubeconfig"

    def local_images(self) -> Path:
        """Where the local cluster of this data_dir reads which folders are images."""
        return self.data_dir / "localcluster.images"

    def broker(self) -> str:
        """The address of the broker: set, else what the embedded one of this data_dir last listened on."""
        if self.broker_url:
            return self.broker_url
        note = self.data_dir / "broker.url"
        return note.read_text().strip() if note.exists() else "redis://127.0.0.1:6379/0"
