"""Settings of the service: options of `loc2vec serve`, `LOC2VEC_*` variables, a TOML file."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import limits
from pydantic import BeforeValidator, Field, InstanceOf, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from loc2vec.model.names import DEFAULT_MODEL
from service.errors import SettingsError
from tiling.machine import cpu_count
from tiling.store.store import Store

PREFIX = "LOC2VEC_"
FILE = PREFIX + "SETTINGS"  # names the TOML file
ELSEWHERE = {PREFIX + "PROVIDER"}  # settings of other commands
SHA256 = re.compile("[0-9a-f]{64}")
# What Kubernetes and Docker links set in a container beside a service whose name begins so.
LINK = re.compile(
    PREFIX
    + r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)",
    re.IGNORECASE,
)
LINK_URL = re.compile("(tcp|udp|sctp)://")


def _store(value: Any) -> Any:
    return value if isinstance(value, Store) else Store.at(str(value))


StoreAt = Annotated[InstanceOf[Store], BeforeValidator(_store), NoDecode]  # given by its location
Texts = Annotated[tuple[str, ...], NoDecode]  # in the environment: separated by commas


class _Environment(EnvSettingsSource):
    """The variables of the environment; LOC2VEC_PORT may be one that Kubernetes set."""

    def __call__(self) -> dict[str, Any]:
        """Return the values by the names of their fields."""
        values = super().__call__()
        return {name: value for name, value in values.items() if not _is_link(PREFIX + name, value)}


def _is_link(name: str, value: Any) -> bool:
    """Tell whether a variable is no setting: Kubernetes or a Docker link made it."""
    if LINK.fullmatch(name):
        return True
    return name.upper().endswith("_PORT") and bool(LINK_URL.match(str(value)))


class Settings(BaseSettings):
    """The settings of the service.

    Options of the command win over the environment, which wins over the file.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    store: StoreAt = Field(description="Feature store, made by `loc2vec import`")
    model: str = Field(DEFAULT_MODEL, description="Name of a shipped model, or a model folder")
    fast: bool = Field(
        False, description="Encode in bfloat16: faster, 1 % off; needs the extra `fast` on a CPU"
    )
    index: Path | None = Field(None, description="Index folder, made by `loc2vec index`")
    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes any")
    workers: int = Field(
        1,
        ge=1,
        le=256,
        description="Processes that answer, each with a model and an index of its own",
    )
    render_processes: int = Field(
        default_factory=cpu_count,
        ge=0,
        le=256,
        description="Processes that draw, for each that answers; 0: threads",
    )
    queue_places: int = Field(
        1000, ge=1, description="Places that may wait; more are refused with 503"
    )
    cache_places: int = Field(100_000, ge=0, description="Vectors that are remembered")
    cache_s: int = Field(
        300,
        ge=0,
        description="How long an answer may be kept, by the service and by clients, seconds",
    )
    timeout_s: float = Field(
        30.0, gt=0, description="How long an answer, and a request's body, may take, seconds"
    )
    drain_s: int = Field(8, ge=0, description="How long a stop waits for answers, seconds")
    reload_s: float = Field(
        1.0, gt=0, description="How often the service looks for a new index and store, seconds"
    )
    max_body_bytes: int = Field(1_000_000, ge=1, description="Longer bodies get 413")
    api_keys: Texts = Field(
        (), description="SHA-256 of the keys that may ask; without any, everybody may"
    )
    rate_per_key: str = Field("", description="For example 600/minute; empty: no limit")
    rate_per_address: str = Field("", description="For example 60/minute; empty: no limit")
    cors_origins: Texts = Field((), description="Origins of the pages that may ask, or *")
    tracing: bool = Field(False, description="Send spans of OpenTelemetry; needs the extra `otel`")
    log_format: Literal["text", "json"] = Field(
        "text", description="Lines for people, or for programs"
    )

    @field_validator("api_keys", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return (
            tuple(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("api_keys")
    @classmethod
    def _hashes(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        if not all(SHA256.fullmatch(key) for key in keys):
            raise ValueError("give the SHA-256 of each key: printf %s KEY | sha256sum")
        return keys

    @field_validator("rate_per_key", "rate_per_address")
    @classmethod
    def _rate(cls, text: str) -> str:
        if text:
            limits.parse(text)
        return text

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        """Return the options, the environment and the file, in this order of precedence."""
        file = TomlConfigSettingsSource(settings_cls, os.environ.get(FILE))
        return init_settings, _Environment(settings_cls), file


def load_settings(options: Mapping[str, Any]) -> Settings:
    """Return the settings; options that are None are not given.

    Raises `SettingsError`, which names the settings at fault.
    """
    file = os.environ.get(FILE)
    if file and not Path(file).is_file():
        raise SettingsError(f"{FILE}={file} is not a file")
    known = {FILE, *ELSEWHERE, *(PREFIX + name.upper() for name in Settings.model_fields)}
    unknown = sorted(
        name
        for name, value in os.environ.items()
        if name.startswith(PREFIX) and name.upper() not in known and not _is_link(name, value)
    )
    if unknown:
        raise SettingsError(
            f"{', '.join(unknown)}: no such setting; there is {', '.join(sorted(known))}"
        )
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        raise SettingsError(f"settings: {'; '.join(map(_told, error.errors()))}") from error
    except ValueError as error:  # a file that is no TOML
        raise SettingsError(f"settings: {error}") from error


def _told(error: Mapping[str, Any]) -> str:
    """Return one fault of the settings as people read it."""
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "missing":
        return f"no {name} is given: write --{name} or set {PREFIX}{name.upper()}"
    return f"{name}: {error['msg']}"
