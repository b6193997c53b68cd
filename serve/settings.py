"""What can be set about the service, and its defaults."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

_SQLITE = "sqlite:///"


class ServeSettings(BaseModel):
    """Settings of one service. Defaults fit two CPUs and one machine."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    models: tuple[str, ...] = Field(
        ("trading@champion",),
        min_length=1,
        description="What is served: MODEL@ALIAS or MODEL@VERSION in the registry, or a bundle's folder, "
        "or NAME=FOLDER.",
    )
    tracking_uri: str = Field("sqlite:///mlflow.db", min_length=1, description="MLflow, where the registry is.")
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; beyond loopback needs keys.")
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    replicas: int = Field(1, ge=1, le=256, description="Processes that answer requests.")
    keys_file: Path | None = Field(None, description="File of API keys; without one, whoever reaches the port may ask.")
    log_dir: Path | None = Field(None, description="Folder of the access logs; none are written if not given.")

    poll_seconds: float = Field(2.0, gt=0, le=3600, description="How often the registry is asked for changes [s].")
    keep_seconds: float = Field(60.0, ge=0, description="How long a version stays loaded that is no longer served [s].")
    max_pinned: int = Field(8, ge=1, description="Versions kept loaded only because requests pinned them, a model.")
    max_pinning: int = Field(8, ge=1, description="Versions that a replica has fetched for requests at once; else 429.")

    max_body_bytes: int = Field(16 * 2**20, ge=1024, description="Largest body of a request [bytes].")
    max_rows: int = Field(16384, ge=1, description="Most rows of observations in a request.")
    max_buffered_bytes: int = Field(
        256 * 2**20, ge=2**20, description="Bodies over 64 KiB that a replica holds at once, in all [bytes]."
    )
    max_json_values: int = Field(
        2**21, ge=1024, description="Most values in a request's JSON, counted by commas, colons and brackets."
    )
    readers: int = Field(1, ge=1, le=64, description="Processes of a replica that unpack and read large JSON.")
    request_timeout_s: float = Field(10.0, gt=0, description="Longest time to read, and to answer, a request [s].")
    max_in_flight: int = Field(32, ge=1, description="Requests that a replica works on at once.")
    max_queued: int = Field(64, ge=0, description="Requests that wait for their turn in a replica; more get a 429.")
    queue_timeout_s: float = Field(0.5, gt=0, le=10, description="How long a request waits before it gets a 429 [s].")
    retry_after_s: float = Field(1.0, gt=0, description="When refused requests are told to come back [s].")
    max_connections_per_address: int = Field(
        1024, ge=1, description="Connections of one address at once; more are closed. A reverse proxy is one address."
    )

    session_ttl_s: float = Field(600.0, gt=0, description="Life of a recurrent session after its last request [s].")
    max_sessions: int = Field(100_000, ge=1, description="Recurrent sessions kept; the oldest go first.")
    max_session_rows: int = Field(4096, ge=1, description="Agents, or rows, that one session remembers; more get 400.")
    max_remembered_rows: int = Field(
        500_000, ge=1, description="Agents, or rows, that all sessions remember together; the oldest sessions go first."
    )

    big_rows: int = Field(512, ge=1, description="Calls of more rows than this run beside the event loop, in a thread.")
    threads: int = Field(1, ge=1, le=64, description="Threads of a replica for calls of many rows.")

    # Replicas have working folders of their own: what is meant from where the service was started is made absolute.

    @field_validator("models")
    @classmethod
    def _absolute_folders(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        found = []
        for text in models:
            name, equals, folder = text.rpartition("=")
            path = Path(folder).expanduser()
            found.append(f"{name}{equals}{path.absolute()}" if folder and path.is_dir() else text)
        return tuple(found)

    @field_validator("tracking_uri")
    @classmethod
    def _absolute_uri(cls, uri: str) -> str:
        if not uri.startswith(_SQLITE) or uri == f"{_SQLITE}:memory:":
            return uri
        return f"{_SQLITE}{Path(uri.removeprefix(_SQLITE)).expanduser().absolute()}"

    @field_validator("keys_file", "log_dir")
    @classmethod
    def _absolute_path(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()
