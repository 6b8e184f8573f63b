"""The settings of the HTTP API. docs/settings.md lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from conversion_operator.cluster.settings import render_table
from converter_gateway.paths import Mapping, parse_mappings

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class GatewaySettings(BaseSettings):
    """Names in capitals are the environment variables, which override the ConfigMap."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    gateway_auth: Literal["token", "network"] = Field(
        "token", description="token: bearer tokens are reviewed. network: a NetworkPolicy guards."
    )
    gateway_audience: str = Field(
        "my-network-converter", min_length=1, description="Audience a caller's token must have."
    )
    gateway_namespace: str = Field(
        "my-network", description="The one namespace of all callers with GATEWAY_AUTH=network."
    )
    gateway_paths: str = Field(
        "/opt/my-network/shared=/,/opt/my-network/storage=/storage",
        description="Callers' folders and the folders of the volume they are.",
    )
    gateway_max_body_bytes: int = Field(65536, ge=1024, description="Largest request body.")
    gateway_max_concurrent: int = Field(
        256, ge=1, description="Most requests under way at once; more are answered 503."
    )
    gateway_rate_per_second: float = Field(
        50, gt=0, allow_inf_nan=False, description="Steady rate of one address, per replica."
    )
    gateway_rate_burst: int = Field(
        200, ge=1, description="Requests of one address at once; more are answered 429."
    )
    gateway_max_streams: int = Field(
        256, ge=1, description="Most streams of events at once, per replica; more are answered 503."
    )
    gateway_max_streams_per_address: int = Field(
        32, ge=1, description="Most streams of events of one address; more are answered 429."
    )
    gateway_stream_seconds: Seconds = Field(
        3600, description="A stream of events ends after that long; its listener comes back."
    )
    gateway_heartbeat_seconds: Seconds = Field(
        15, description="How often a stream of events shows that it is alive."
    )
    gateway_stall_seconds: Seconds = Field(
        30, description="A listener that reads nothing, or has vanished, for that long is cut off."
    )
    gateway_drain_seconds: float = Field(
        5,
        ge=0,
        le=300,
        description="After SIGTERM the API serves on for that long, not ready, until nobody sends "
        "requests here any more. 20 s more for requests under way fit into "
        "terminationGracePeriodSeconds.",
    )
    gateway_content_rules: Path = Field(
        Path("/etc/my-network-converter-content/rules.yaml"),
        description="The rules of POST /api/v1/content; without its folder the built-in ones.",
    )
    gateway_port: int = Field(8000, ge=0, le=65535, description="Port of the API.")
    converter_max_parallel: int = Field(3, ge=0, description="The operator's, told by stats.")
    converter_image: str = Field(
        "my-converter:latest", description="The operator's, told by stats."
    )

    @field_validator("gateway_paths")
    @classmethod
    def _mappings_are_understood(cls, text: str) -> str:
        parse_mappings(text)
        return text

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """GATEWAY_PATHS, parsed."""
        return parse_mappings(self.gateway_paths)


def render_settings() -> str:
    """The section of docs/settings.md on the HTTP API: one row per setting."""
    return (
        "\n## The HTTP API\n\n"
        "Keys of the ConfigMap `my-network-converter-gateway`, or environment variables of the "
        "API, which override it. All are read at the start: restart the Deployment "
        "`my-network-converter-gateway` after a change. `CONVERTER_MAX_PARALLEL` and "
        "`CONVERTER_IMAGE` are those of the operator's ConfigMap, and are read again every 30 s. "
        "The rules of the content pipeline, ConfigMap `my-network-converter-content-rules`, are "
        "read again by themselves, within 90 seconds. "
        "This section is made from `gateway/converter_gateway/settings.py` by "
        "`make crds`.\n\n" + render_table(GatewaySettings)
    )
