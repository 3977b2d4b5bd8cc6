"""The settings of one KubeProbe process: read once at start-up from the environment variables KUBEPROBE_*."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from kubeprobe.errors import InvalidInputError


def _default_data_dir() -> Path:
    """`.kubeprobe` in the working folder, so that `make run` and a shell in the same folder share one installation."""
    return Path.cwd() / ".kubeprobe"


BROKER_URL_FILE = "broker.url"
"""In data_dir: the embedded broker's URL, with its password."""


class Settings(BaseSettings):
    """All settings. Durations are seconds or ISO 8601 (`PT30S`)."""

    model_config = SettingsConfigDict(env_prefix="KUBEPROBE_", frozen=True, extra="forbid", hide_input_in_errors=True)

    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="directory of the SQLite database, the secret key and the embedded services",
    )
    database_url: str = Field(
        default="", repr=False, description="sqlite:///FILE or postgresql://...; empty: SQLite in data_dir"
    )
    broker_url: str = Field(
        default="",
        repr=False,
        description="Redis or Valkey URL; empty: the embedded broker that `kubeprobe up` starts in data_dir",
    )
    statement_timeout: timedelta = Field(
        default=timedelta(seconds=30),
        gt=timedelta(0),
        description="maximum duration of a statement of PostgreSQL; a server that answers nothing for 5 s more is "
        "disconnected",
    )
    secret_key: SecretStr | None = Field(
        default=None,
        description="Fernet keys, separated by commas: the first encrypts credentials, all decrypt them; empty: "
        "data_dir/secret.key (mode 0600)",
    )
    template_host_access: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("kube-proxy-rules", "node-health", "node-netns-leak"),
        description="templates whose pods may reach their node (host paths, host network, privileged, added "
        "capabilities), separated by commas: NAME, SOURCE/NAME for those of a source, or *; replaces the default",
    )
    template_registries: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="prefixes of the images that templates may use, separated by commas; empty: any"
    )
    template_digests: bool = Field(default=False, description="whether images of templates must name their digest")
    pool: str = Field(default="default", description="pool that this launcher or collector serves")
    launch_concurrency: int = Field(default=16, ge=1, description="pods that one launch batch creates concurrently")
    batch_size: int = Field(default=50, ge=1, description="maximum number of runs of one cluster in one message")
    resend_after: timedelta = Field(
        default=timedelta(seconds=5), description="time after which a pending run that was not claimed is sent again"
    )
    claim_timeout: timedelta = Field(
        default=timedelta(seconds=40), description="time after which a launcher's claim on a run expires"
    )
    lost_after: timedelta = Field(
        default=timedelta(minutes=5),
        description="time after its deadlines at which a run without an outcome is closed as lost",
    )
    launch_within: timedelta = Field(
        default=timedelta(minutes=10),
        description="maximum time that a run waits for a launcher, or for its cluster's limit of pods",
    )
    patience: timedelta = Field(
        default=timedelta(seconds=60),
        description="maximum time to retry a run whose pod the cluster rejects",
    )
    lease: timedelta = Field(
        default=timedelta(seconds=10), description="lifetime of a collector's lease on a cluster, unless renewed"
    )
    sweep_every: timedelta = Field(
        default=timedelta(minutes=5), gt=timedelta(0), description="interval between sweeps for orphaned objects"
    )
    keep_outcomes: timedelta = Field(
        default=timedelta(days=30), description="age at which runs and outcomes are deleted"
    )
    log_tail: int = Field(default=200, ge=0, description="log lines that are stored of a run that did not pass")
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65_532,
        description="first of four ports on which processes serve /metrics: launcher, collector (+1), responder (+2), "
        "beat (+3); 0: none does. Web serves its own on its own port",
    )
    metrics_address: str = Field(default="127.0.0.1", description="where they listen; 0.0.0.0 or :: for all addresses")
    metrics_pools: int = Field(
        default=20, ge=0, description="pools whose queue is a series of its own, by name; the rest are one series"
    )
    log_format: str = Field(default="console", pattern="^(console|json)$", description="console or json")

    @field_validator("metrics_port", mode="before")
    @classmethod
    def _ignore_service_link(cls, value: Any) -> Any:
        """Beside a Service `kubeprobe-metrics`, Kubernetes sets the variable to its `tcp://` address."""
        return 0 if isinstance(value, str) and value.startswith("tcp://") else value

    @field_validator("template_host_access", "template_registries", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    def database(self) -> str:
        """The SQLAlchemy URL of the store."""
        return self.database_url or f"sqlite:///{self.data_dir / 'kubeprobe.db'}"

    def local_kubeconfig(self) -> Path:
        """The kubeconfig that the local cluster of this data_dir writes."""
        return self.data_dir / "localcluster.kubeconfig"

    def local_images(self) -> Path:
        """The file from which the local cluster of this data_dir reads which folders are images."""
        return self.data_dir / "localcluster.images"

    def broker(self) -> str:
        """The URL of the broker: the setting, else that of this data_dir's embedded broker when it last started.

        Raises InvalidInputError.
        """
        if self.broker_url:
            return self.broker_url
        note = self.data_dir / BROKER_URL_FILE
        if not note.exists():
            return "redis://127.0.0.1:6379/0"
        if (found := note.read_text(errors="replace").strip()).startswith("redis://"):
            return found
        raise InvalidInputError(
            f"{note} is damaged; expected redis://... . Start `kubeprobe up` again, or set KUBEPROBE_BROKER_URL."
        )
