"""What the HTTP API reads of the operator's settings, from the same mounted ConfigMap."""

from __future__ import annotations

from pathlib import Path

import pytest

from conversion_operator.cluster.settings import read_settings
from conversion_operator.controller.settings import Settings
from converter_gateway.settings import GatewaySettings


@pytest.mark.parametrize(
    ("common", "by_namespace"),
    [("", ""), ("A.example, b", ""), ("a", "team-a=x\nteam-b=y,z\nteam-c=\n")],
)
def test_the_api_and_the_operator_allow_the_same_hosts(
    tmp_path: Path, common: str, by_namespace: str
) -> None:
    (tmp_path / "CONVERTER_CALLBACK_HOSTS").write_text(common)
    (tmp_path / "CONVERTER_CALLBACK_HOSTS_BY_NAMESPACE").write_text(by_namespace)
    (tmp_path / "WATCH_NAMESPACES").write_text("team-a, team-b")
    api, operator = read_settings(GatewaySettings, tmp_path), read_settings(Settings, tmp_path)
    assert api.callback_hosts == operator.callback_hosts
    assert api.watched_namespaces == frozenset(operator.namespaces)


def test_what_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    settings = read_settings(GatewaySettings, tmp_path)
    assert (settings.callback_hosts, settings.watched_namespaces) == (None, None)
    (tmp_path / "CONVERTER_CALLBACK_HOSTS").write_text("https://not-a-host")
    (tmp_path / "WATCH_NAMESPACES").write_text("")
    settings = read_settings(GatewaySettings, tmp_path)
    assert (settings.callback_hosts, settings.watched_namespaces) == (None, None)
