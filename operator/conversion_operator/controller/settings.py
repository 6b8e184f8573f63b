"""Settings: from the environment, else from the files of a mounted ConfigMap, else the defaults.

A ConfigMap mounted as a folder has one file a key, which is re-read while the operator runs; an
environment variable overrides it for good. docs/settings.md lists them all.
"""

from __future__ import annotations

import logging
import re
from ipaddress import IPv6Address
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from conversion_operator.api.spec import URL_PATTERN
from conversion_operator.core.manifest import parse_quantity
from conversion_operator.core.model import Policy

CONFIG_DIR: Final = Path("/etc/my-network-converter")

CALLBACK_SECRET: Final = Path("/etc/my-network-converter-callbacks/secret")
"""What callbacks are signed with, from a Secret that need not exist."""

_TARGET: Final = re.compile(r"https?://[^/?#@]+([/?#]|$)")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")

logger = logging.getLogger(__name__)


def _quantity(text: str) -> str:
    parse_quantity(text)
    return text


def _url(text: str) -> str:
    if text and not (_TARGET.match(text) and re.fullmatch(URL_PATTERN.strip("^$"), text)):
        raise ValueError(
            "a URL for callbacks begins with http:// or https://, and has no user name"
        )
    return text


def _split(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _hosts(text: str) -> str:
    for name in _split(text):
        if not _HOST.fullmatch(name) and not _is_ipv6(name):
            raise ValueError("names of hosts have neither a scheme nor a port nor wildcards")
    return text


Quantity = Annotated[str, AfterValidator(_quantity)]
Seconds = Annotated[int, Field(ge=1)]


class Settings(BaseSettings):
    """One field a setting; the name of the variable or file is the field's name in capitals."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    converter_enabled: bool = Field(
        True, description="false: nothing new is started; what runs goes on."
    )
    converter_max_parallel: int = Field(
        3, ge=0, description="How many conversions run at a time, over all namespaces."
    )
    converter_image: str = Field(
        "my-converter:latest", min_length=1, description="Image of the converter."
    )
    shared_volume_claim: str = Field(
        "my-network-shared",
        min_length=1,
        description="PersistentVolumeClaim of the shared volume, in the namespace of each "
        "ConversionJob.",
    )
    watch_namespaces: Annotated[str, NoDecode] = Field(
        "my-network", min_length=1, description="Namespaces to serve, separated by commas."
    )
    converter_timeout_seconds: Seconds = Field(
        21600, description="Longest time a conversion may run, unless its spec says otherwise."
    )
    converter_stall_seconds: Seconds = Field(
        300, description="A conversion without progress for that long is ended as Stalled."
    )
    converter_start_timeout_seconds: Seconds = Field(
        300, description="A container that has not started by then gives its slot to others."
    )
    converter_queue_timeout_seconds: Seconds = Field(
        86400, description="Tries to start are given up as QueueTimeout after that long."
    )
    converter_unreachable_seconds: Seconds = Field(
        300, description="How long a node may be unreachable before its pods are evicted."
    )
    converter_lost_seconds: Seconds = Field(
        900, description="How long to wait for a pod of a lost node before NodeLost."
    )
    converter_max_retries: int = Field(
        2, ge=0, le=10, description="Retries of failures, unless the spec says otherwise."
    )
    converter_ttl_seconds: int = Field(
        86400, ge=0, description="How long an ended ConversionJob is kept, unless its spec says."
    )
    converter_callback_url: Annotated[str, AfterValidator(_url)] = Field(
        "",
        description="Where the end of each conversion is POSTed to whose spec has no notify; "
        "empty: nowhere. See callbacks.md.",
    )
    converter_callback_hosts: Annotated[str, NoDecode, AfterValidator(_hosts)] = Field(
        "",
        description="Hosts that callbacks may go to, exact names separated by commas; empty: "
        "there are no callbacks.",
    )
    converter_max_memory: Quantity = Field(
        "4Gi", description="Upper bound when memory is doubled after OutOfMemory."
    )
    converter_requests_cpu: Quantity = Field("100m", description="Default CPU request.")
    converter_requests_memory: Quantity = Field("256Mi", description="Default memory request.")
    converter_limits_cpu: Quantity = Field("1", description="Default CPU limit.")
    converter_limits_memory: Quantity = Field("1Gi", description="Default memory limit.")
    converter_run_as_user: int = Field(65532, ge=1, description="uid of the converter.")
    converter_run_as_group: int = Field(65532, ge=1, description="gid of the converter.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe log messages to write."
    )
    probe_port: int = Field(
        8080, ge=0, le=65535, description="Port of /metrics, /healthz and /readyz."
    )
    pod_namespace: str = Field(
        "my-network-converter", description="Namespace of the operator, for its Lease."
    )
    pod_name: str = Field("", description="Name of the operator's pod, for its Lease.")

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The namespaces to serve, each once."""
        return _split(self.watch_namespaces)

    @property
    def callback_hosts(self) -> frozenset[str]:
        """The hosts callbacks may go to, in lower case."""
        names = _split(self.converter_callback_hosts)
        return frozenset(name.lower().rstrip(".") for name in names)

    def policy(self) -> Policy:
        """What the decisions need of the settings."""
        return Policy(
            enabled=self.converter_enabled,
            max_parallel=self.converter_max_parallel,
            image=self.converter_image,
            claim_name=self.shared_volume_claim,
            start_timeout=self.converter_start_timeout_seconds,
            queue_timeout=self.converter_queue_timeout_seconds,
            stall=self.converter_stall_seconds,
            timeout=self.converter_timeout_seconds,
            max_retries=self.converter_max_retries,
            ttl=self.converter_ttl_seconds,
            callback_url=self.converter_callback_url,
            max_memory=int(parse_quantity(self.converter_max_memory)),
            unreachable=self.converter_unreachable_seconds,
            lost=self.converter_lost_seconds,
            run_as_user=self.converter_run_as_user,
            run_as_group=self.converter_run_as_group,
            requests={
                "cpu": self.converter_requests_cpu,
                "memory": self.converter_requests_memory,
            },
            limits={"cpu": self.converter_limits_cpu, "memory": self.converter_limits_memory},
        )


def read_settings(folder: Path = CONFIG_DIR) -> Settings:
    """The settings as they stand now. Raises ValidationError, naming the setting."""
    # _secrets_dir is pydantic-settings' name for "one file a value", which a mounted ConfigMap is.
    return Settings(_secrets_dir=folder if folder.is_dir() else None)


def render_settings() -> str:
    """docs/settings.md: one row a setting."""
    rows = "\n".join(
        f"| `{name.upper()}` | `{field.default}` | {field.description} |"
        for name, field in Settings.model_fields.items()
    )
    return (
        "# Settings\n\n"
        "Keys of the ConfigMap `my-network-converter-operator`, or environment variables of the "
        "operator, which override it. A change of the ConfigMap takes effect once the kubelet has "
        "updated the mounted files, within about 90 seconds, and stops nothing that runs. "
        "`WATCH_NAMESPACES`, `PROBE_PORT`, `LOG_LEVEL`, `POD_NAMESPACE` and `POD_NAME` are read at "
        "the start only. "
        "This page is made from `operator/conversion_operator/controller/settings.py` by "
        "`make crds`.\n\n| setting | default | meaning |\n|---|---|---|\n" + rows + "\n"
    )


class LiveSettings:
    """The settings as last read well: a slip in the ConfigMap must not stop what works."""

    def __init__(self, folder: Path = CONFIG_DIR) -> None:
        self._folder = folder
        self.current = read_settings(folder)

    def reload(self) -> bool:
        """Read again; True if anything changed."""
        try:
            fresh = read_settings(self._folder)
        except ValidationError as error:
            logger.error("the settings are not understood, the former stay in force: %s", error)
            return False
        changed, self.current = fresh != self.current, fresh
        return changed
