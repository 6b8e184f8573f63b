"""What the HTTP API reads of the operator's settings, from the same mounted ConfigMap."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import pytest

from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.cluster.judgement import SettingsModel, judge
from conversion_operator.cluster.settings import LiveSettings, read_folder
from conversion_operator.controller.settings import Settings
from converter_gateway.settings import GatewaySettings, own_problems

S = TypeVar("S", bound=SettingsModel)


def read_settings(model: type[S], folder: Path) -> S:
    return judge(model, {}, read_folder(folder)).settings


def invalid(model: type[SettingsModel], folder: Path) -> set[str]:
    return {problem.name for problem in judge(model, {}, read_folder(folder)).problems}


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


@pytest.mark.parametrize(
    ("text", "served", "configured"),
    [("team-a", {"team-a"}, {"team-a"}), ("*", {"team-a", "team-b"}, {ALL_NAMESPACES})],
)
def test_which_namespaces_are_served(
    tmp_path: Path, text: str, served: set[str], configured: set[str]
) -> None:
    (tmp_path / "WATCH_NAMESPACES").write_text(text)
    settings = read_settings(GatewaySettings, tmp_path)
    assert {name for name in ("team-a", "team-b") if settings.is_served(name)} == served
    assert settings.served_namespaces == configured
    # Without tokens, a replica serves one namespace, whatever the operator serves.
    (tmp_path / "GATEWAY_AUTH").write_text("network")
    alone = read_settings(GatewaySettings, tmp_path)
    assert alone.served_namespaces == {alone.gateway_namespace}


@pytest.mark.parametrize("text", ["", " ", ","])
def test_no_namespace_is_an_invalid_list(tmp_path: Path, text: str) -> None:
    """The operator does not take such a list, so it says nothing about what is served."""
    (tmp_path / "WATCH_NAMESPACES").write_text(text)
    assert read_settings(GatewaySettings, tmp_path).watched_namespaces is None
    assert invalid(GatewaySettings, tmp_path) == {"WATCH_NAMESPACES"}
    assert invalid(Settings, tmp_path) == {"WATCH_NAMESPACES"}


@pytest.mark.parametrize(
    ("setting", "valid", "text"),
    [
        ("WATCH_NAMESPACES", "team-a,team-b", "team-a;team-b"),
        ("WATCH_NAMESPACES", "team-a", ""),
        ("CONVERTER_CALLBACK_HOSTS", "a,b", "https://a"),
        ("CONVERTER_CALLBACK_HOSTS_BY_NAMESPACE", "team-a=x", "team-a:x"),
        ("CONVERTER_IMAGE", "i:1", ""),
    ],
)
def test_the_api_keeps_the_value_that_the_operator_keeps(
    setting: str, valid: str, text: str
) -> None:
    live = LiveSettings(GatewaySettings, {})
    live.take({setting: valid})
    before = live.current
    assert not live.take({setting: text})
    assert live.current == before
    assert [problem.name for problem in live.problems] == [setting]
    assert live.current.callback_hosts == before.callback_hosts
    live.take({})
    assert live.current == GatewaySettings()


def test_a_list_of_one_namespace_is_a_list(tmp_path: Path) -> None:
    """Without a common list, the operator sends no callback from other namespaces."""
    (tmp_path / "CONVERTER_CALLBACK_HOSTS_BY_NAMESPACE").write_text("team-a=x")
    api, operator = read_settings(GatewaySettings, tmp_path), read_settings(Settings, tmp_path)
    assert api.callback_hosts == operator.callback_hosts


@pytest.mark.parametrize("text", ["a/b", "*", "A", "a b", "a..", "-a"])
def test_a_namespace_with_a_name_that_cannot_exist(tmp_path: Path, text: str) -> None:
    (tmp_path / "WATCH_NAMESPACES").write_text(f"team-a,{text}")
    (tmp_path / "GATEWAY_NAMESPACE").write_text(text)
    assert "WATCH_NAMESPACES" in invalid(Settings, tmp_path)
    assert "WATCH_NAMESPACES" in invalid(GatewaySettings, tmp_path)
    assert "GATEWAY_NAMESPACE" in invalid(GatewaySettings, tmp_path)


def test_the_api_starts_with_an_invalid_setting_of_the_operator_but_not_of_its_own(
    tmp_path: Path,
) -> None:
    (tmp_path / "CONVERTER_MAX_PARALLEL").write_text("four")
    (tmp_path / "GATEWAY_TYPO").write_text("x")
    judged = judge(GatewaySettings, {}, read_folder(tmp_path))
    assert {problem.name for problem in judged.problems} == {
        "CONVERTER_MAX_PARALLEL",
        "GATEWAY_TYPO",
    }
    assert judged.settings.converter_max_parallel == 3
    assert own_problems(judged.problems) == ""
    (tmp_path / "GATEWAY_NAMESPACE").write_text("a b")
    assert "GATEWAY_NAMESPACE" in own_problems(
        judge(GatewaySettings, {}, read_folder(tmp_path)).problems
    )
