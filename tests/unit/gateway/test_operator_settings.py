"""What the HTTP API reads of the operator's settings, from the same mounted ConfigMap."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

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


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("CONVERTER_CALLBACK_HOSTS", "https://not-a-host"),
        ("CONVERTER_CALLBACK_HOSTS", "."),
        ("CONVERTER_CALLBACK_HOSTS_BY_NAMESPACE", "team-a:x"),
    ],
)
def test_an_invalid_list_of_hosts_is_not_an_unknown_one(
    tmp_path: Path, setting: str, text: str
) -> None:
    (tmp_path / setting).write_text(text)
    with pytest.raises(ValueError, match=r"host name|NAMESPACE=HOST"):
        _ = read_settings(GatewaySettings, tmp_path).callback_hosts


@pytest.mark.parametrize("text", ["", " ", ","])
def test_no_namespace_is_not_every_namespace(tmp_path: Path, text: str) -> None:
    """The operator does not start with such a list, and the API starts no conversion."""
    (tmp_path / "WATCH_NAMESPACES").write_text(text)
    assert read_settings(GatewaySettings, tmp_path).watched_namespaces == frozenset()
    with pytest.raises(ValidationError):
        read_settings(Settings, tmp_path)


def test_a_list_of_one_namespace_is_a_list(tmp_path: Path) -> None:
    """Without a common list, the operator sends no callback from other namespaces."""
    (tmp_path / "CONVERTER_CALLBACK_HOSTS_BY_NAMESPACE").write_text("team-a=x")
    api, operator = read_settings(GatewaySettings, tmp_path), read_settings(Settings, tmp_path)
    assert api.callback_hosts == operator.callback_hosts


@pytest.mark.parametrize("text", ["a/b", "*", "A", "a b", "a..", "-a"])
def test_a_namespace_with_a_name_that_cannot_exist(tmp_path: Path, text: str) -> None:
    (tmp_path / "WATCH_NAMESPACES").write_text(f"team-a,{text}")
    (tmp_path / "GATEWAY_NAMESPACE").write_text(text)
    with pytest.raises(ValidationError, match="watch_namespaces"):
        read_settings(Settings, tmp_path)
    with pytest.raises(ValidationError, match="gateway_namespace"):
        read_settings(GatewaySettings, tmp_path)
