"""The settings of the HTTP API. docs/settings.md lists them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, field_validator

from conversion_operator.api.callback_hosts import HostLists, parse_hosts, parse_namespace_hosts
from conversion_operator.api.names import NAMESPACE_PATTERN
from conversion_operator.api.setting_checks import (
    ALL_NAMESPACES,
    check_hosts,
    check_namespace_hosts,
    check_namespaces,
    check_volume_folder,
    split,
)
from conversion_operator.cluster.judgement import SettingProblem, SettingsModel, render_table
from converter_gateway.paths import PathMapping, parse_mappings

Seconds = Annotated[float, Field(gt=0, le=31536000, allow_inf_nan=False)]


_FILE_SERVER: Final = re.compile(
    r"http://([a-z0-9-]+[.])*[a-z0-9-]*([{]namespace[}][a-z0-9.-]*)?(:[0-9]{1,5})?"
)


def _check_file_server(text: str) -> str:
    if text and not _FILE_SERVER.fullmatch(text):
        raise ValueError("must be http://HOST:PORT, with {namespace} in HOST, or empty")
    return text


_SERVICE: Final = "my-network-converter-gateway"
_HOST: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def _check_host_names(text: str) -> str:
    for name in split(text):
        if not _HOST.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a host: a-z, 0-9, - and ., and no port")
    return text


class GatewaySettings(SettingsModel):
    """One field per setting. The variable or file has the name of the field in capitals."""

    no_default: ClassVar[frozenset[str]] = frozenset(
        {"converter_callback_hosts", "converter_callback_hosts_by_namespace"}
    )

    gateway_auth: Literal["token", "network"] = Field(
        "token",
        description="`token`: callers need a bearer token. `network`: a NetworkPolicy decides who "
        "can call.",
    )
    gateway_audience: str = Field(
        "my-network-converter", min_length=1, description="Audience that tokens must have."
    )
    gateway_namespace: str = Field(
        "my-network",
        pattern=f"^{NAMESPACE_PATTERN}$",
        description="Namespace of all conversions with `GATEWAY_AUTH=network`.",
    )
    gateway_hosts: Annotated[str, AfterValidator(_check_host_names)] = Field(
        "",
        description="Other names of the API, such as that of an ingress, with commas. With "
        "`GATEWAY_AUTH=network`, the API refuses calls by names that are not here. It always "
        "accepts IP addresses, `localhost` and the names of its Service. See "
        "[page.md](page.md#pages-of-other-sites).",
    )
    gateway_paths: str = Field(
        "/opt/my-network/shared=/,/opt/my-network/storage=/storage",
        description="Maps folders of callers to folders of the volume.",
    )
    gateway_max_body_bytes: int = Field(
        65536, ge=1024, le=1073741824, description="Largest request body."
    )
    gateway_max_connections: int = Field(
        1024,
        ge=16,
        le=1000000,
        description="Maximum open connections, per replica. Above, a new connection closes the "
        "oldest one that waits for a request, of the address that has most of these.",
    )
    gateway_max_connections_per_address: int = Field(
        384,
        ge=8,
        le=1000000,
        description="Maximum open connections of one address, per replica. Above, the API closes "
        "new connections. Behind an ingress or a mesh, all callers may have one address.",
    )
    gateway_header_seconds: Seconds = Field(
        10, description="Maximum time for the headers of a request to arrive. Above: 408."
    )
    gateway_body_seconds: Seconds = Field(
        10, description="Maximum time for the body of a request to arrive. Above: 408."
    )
    gateway_idle_seconds: Seconds = Field(
        30, description="Close a connection without a new request after this time."
    )
    gateway_max_unread_bytes: int = Field(
        33554432,
        ge=65536,
        le=1099511627776,
        description="Maximum memory for responses that callers do not read, per replica. Above, "
        "the API closes the connections that use most of it.",
    )
    gateway_max_concurrent: int = Field(
        256,
        ge=1,
        le=1000000,
        description="Maximum requests in progress, per replica. Above: 503. Event streams and "
        "long polls have limits of their own.",
    )
    gateway_max_concurrent_per_address: int = Field(
        200,
        ge=1,
        le=1000000,
        description="Maximum requests in progress of one address, per replica. Above: 429.",
    )
    gateway_max_long_polls: int = Field(
        256,
        ge=1,
        le=1000000,
        description="Maximum long polls in progress (`status` with `wait`), per replica. Above: "
        "503.",
    )
    gateway_max_long_polls_per_address: int = Field(
        128,
        ge=1,
        le=1000000,
        description="Maximum long polls in progress of one address, per replica. Above: 429.",
    )
    gateway_rate_per_second: float = Field(
        50,
        gt=0,
        le=1000000,
        allow_inf_nan=False,
        description="Maximum requests per second from one address, per replica. Above: 429.",
    )
    gateway_rate_burst: int = Field(
        200,
        ge=1,
        le=1000000,
        description="Maximum requests that one address can send at once. Above: 429.",
    )
    gateway_max_token_reviews: int = Field(
        48,
        ge=1,
        le=1000000,
        description="Maximum TokenReviews in progress, per replica. Above: 503.",
    )
    gateway_max_token_reviews_per_address: int = Field(
        16,
        ge=1,
        le=1000000,
        description="Maximum TokenReviews in progress for requests of one address, per replica. "
        "Tokens that were valid in the last 10 minutes do not count. Above: 429.",
    )
    gateway_invalid_tokens_per_second: float = Field(
        5,
        gt=0,
        le=1000000,
        allow_inf_nan=False,
        description="Maximum tokens per second from one address that are not valid, per replica. "
        "Above, the API accepts from this address only tokens that were valid in the last 10 "
        "minutes, and responds 429 to others.",
    )
    gateway_invalid_tokens_burst: int = Field(
        20,
        ge=1,
        le=1000000,
        description="Maximum tokens that are not valid and come at once from one address.",
    )
    gateway_max_streams: int = Field(
        256, ge=1, le=1000000, description="Maximum open event streams, per replica. Above: 503."
    )
    gateway_max_streams_per_address: int = Field(
        32,
        ge=1,
        le=1000000,
        description="Maximum open event streams of one address, per replica. Above: 429.",
    )
    gateway_file_server: Annotated[str, AfterValidator(_check_file_server)] = Field(
        "http://my-network-converter-files.{namespace}.svc:8001",
        description="Address of the file servers. `{namespace}` stands for the namespace of the "
        "conversion. Empty: there are none. See [logs.md](logs.md).",
    )
    gateway_max_downloads: int = Field(
        32,
        ge=1,
        le=1000000,
        description="Maximum logs and files that are being sent, per replica. Above: 503.",
    )
    gateway_max_downloads_per_address: int = Field(
        16,
        ge=1,
        le=1000000,
        description="Maximum logs and files that are being sent to one address, per replica. "
        "Above: 429.",
    )
    gateway_stream_seconds: Seconds = Field(
        3600, description="An event stream ends after this time. The listener reconnects."
    )
    gateway_heartbeat_seconds: Seconds = Field(
        15, description="Interval of the heartbeats in an event stream."
    )
    gateway_stall_seconds: Seconds = Field(
        30, description="Close the connection of a caller that reads nothing for this time."
    )
    gateway_drain_seconds: float = Field(
        5,
        ge=0,
        le=300,
        description="After SIGTERM, report not ready but serve this long, until the Service sends "
        "no more requests. Keep it 20 s below `terminationGracePeriodSeconds`.",
    )
    gateway_content_rules: Path = Field(
        Path("/etc/my-network-converter-content/rules.yaml"),
        description="File with the rules of `POST /api/v1/content`. The API uses built-in rules if "
        "the folder does not exist.",
    )
    pod_namespace: str = Field(
        "my-network-converter",
        pattern=f"^{NAMESPACE_PATTERN}$",
        description="Namespace of the pod. Its ConversionQueues count.",
    )
    gateway_port: int = Field(8000, ge=0, le=65535, description="Port of the API.")
    gateway_metrics_port: int = Field(
        8080, ge=0, le=65535, description="Port of the metrics: see [metrics.md](metrics.md)."
    )
    converter_max_parallel: int = Field(
        3, ge=0, le=10000, description="The operator's setting. `stats` reports it."
    )
    converter_image: str = Field(
        "my-converter:0.0.0",
        min_length=1,
        description="The operator's setting. `stats` reports it.",
    )
    watch_namespaces: Annotated[str, AfterValidator(check_namespaces)] | None = Field(
        None,
        description="The operator's setting. The API starts no conversion in other namespaces. "
        "`None`: unknown. `*`: the API serves all namespaces, too, if it has the ClusterRole of "
        "`deploy/cluster-wide`.",
    )
    converter_volume_folder: Annotated[str, AfterValidator(check_volume_folder)] | None = Field(
        None,
        description="The operator's setting. A file server answers only if it has the same folder. "
        "`None`: unknown, so the API asks no file server.",
    )
    converter_restore_labels: str = Field(
        "velero.io/restore-name",
        description="The operator's setting. A retry does not have these labels.",
    )
    converter_callback_hosts: Annotated[str, AfterValidator(check_hosts)] | None = Field(
        None,
        description="The operator's setting. The API rejects a `callback_url` with another host. "
        "`None`: unknown.",
    )
    converter_callback_hosts_by_namespace: Annotated[str, AfterValidator(check_namespace_hosts)] = (
        Field("", description="The operator's setting, for single namespaces.")
    )

    @field_validator("gateway_paths")
    @classmethod
    def _check_paths(cls, text: str) -> str:
        parse_mappings(text)
        return text

    @property
    def mappings(self) -> tuple[PathMapping, ...]:
        """The parsed GATEWAY_PATHS."""
        return parse_mappings(self.gateway_paths)

    @property
    def own_hosts(self) -> frozenset[str] | None:
        """The names by which callers may call the API. None with tokens: by any name."""
        if self.gateway_auth == "token":
            return None
        space = self.pod_namespace
        domains = ("", f".{space}", f".{space}.svc", f".{space}.svc.cluster.local")
        return frozenset({*(_SERVICE + domain for domain in domains), *split(self.gateway_hosts)})

    @property
    def watched_namespaces(self) -> frozenset[str] | None:
        """The namespaces that the operator watches. None: unknown. ALL_NAMESPACES: all."""
        if self.watch_namespaces is None:
            return None
        return frozenset(split(self.watch_namespaces))

    def is_served(self, namespace: str) -> bool:
        """False if the operator's settings say that it does not watch the namespace."""
        watched = self.watched_namespaces
        return watched is None or namespace in watched or ALL_NAMESPACES in watched

    @property
    def served_namespaces(self) -> frozenset[str]:
        """The namespaces whose conversions a replica knows from its start on, or ALL_NAMESPACES.

        The stores of others open when a caller who may read them asks for them.
        """
        if self.gateway_auth == "network":
            return frozenset({self.gateway_namespace})
        return self.watched_namespaces or frozenset()

    @property
    def callback_hosts(self) -> HostLists | None:
        """The hosts that callbacks may go to. None: unknown. Raises ValueError if one is invalid.

        They are invalid only if no valid text was known. A request without a callback does not need
        them.
        """
        common, by_namespace = (
            self.converter_callback_hosts,
            self.converter_callback_hosts_by_namespace,
        )
        if common is None and not by_namespace:
            return None
        return HostLists(parse_hosts(common or ""), parse_namespace_hosts(by_namespace))


def own_problems(problems: Iterable[SettingProblem]) -> str:
    """What is wrong with the API's own settings, as a text. "" if nothing is.

    An unknown setting has no effect, so it is not a problem here.
    """
    return ". ".join(
        problem.text
        for problem in problems
        if problem.name.startswith("GATEWAY_")
        and problem.name.lower() in GatewaySettings.model_fields
    )


_SECTION: Final = """
## The HTTP API

The API reads its settings from the ConfigMap `my-network-converter-gateway`. An environment
variable of the same name overrides the ConfigMap. The API reads settings only when it starts:
restart the Deployment `my-network-converter-gateway` after a change. If one of them is invalid, the
new pod ends with an error, and the pods that run go on serving.

There are two exceptions. `WATCH_NAMESPACES` and the settings that begin with `CONVERTER_` come from
the operator's ConfigMap, and the content rules come from the ConfigMap
`my-network-converter-content-rules`. The API applies changes of these within about two minutes. It
keeps the value in force if one of them is invalid.

This table comes from `gateway/converter_gateway/settings.py`.

"""


def render_settings() -> str:
    """The section of docs/settings.md about the HTTP API."""
    return _SECTION + render_table(GatewaySettings)
