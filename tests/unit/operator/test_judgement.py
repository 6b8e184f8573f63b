"""Each setting is judged alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated

import pytest
from pydantic import AfterValidator

from conversion_operator.cluster.judgement import Judgement, SettingsModel, judge, parse_error
from conversion_operator.cluster.settings import LiveSettings
from conversion_operator.controller.settings import Settings
from converter_gateway.settings import GatewaySettings


def judged(
    config: Mapping[str, str],
    environment: Mapping[str, str] | None = None,
    in_force: Mapping[str, str] | None = None,
) -> Judgement[Settings]:
    return judge(Settings, environment or {}, config, in_force or {})


def problem(judgement: Judgement[Settings]) -> str:
    (only,) = judgement.problems
    return only.text


def test_a_mistake_does_not_undo_the_other_settings() -> None:
    result = judged({"CONVERTER_MAX_PARALLEL": "four", "CONVERTER_IMAGE": "new:1"})
    assert result.settings.converter_image == "new:1"
    assert result.settings.converter_max_parallel == 3
    assert problem(result) == (
        "CONVERTER_MAX_PARALLEL is 'four'. Allowed: 0 to 10000. The value in force is '3'"
    )


def test_an_invalid_setting_keeps_the_value_in_force() -> None:
    first = judged({"CONVERTER_MAX_PARALLEL": "7"})
    second = judged({"CONVERTER_MAX_PARALLEL": "-1"}, in_force=first.texts)
    third = judged({"CONVERTER_MAX_PARALLEL": "many"}, in_force=second.texts)
    assert second.settings.converter_max_parallel == third.settings.converter_max_parallel == 7
    assert "The value in force is '7'" in problem(third)
    fixed = judged({"CONVERTER_MAX_PARALLEL": "8"}, in_force=third.texts)
    assert (fixed.settings.converter_max_parallel, fixed.problems) == (8, ())


def test_a_setting_that_is_removed_has_its_default_again() -> None:
    first = judged({"CONVERTER_MAX_PARALLEL": "7"})
    assert judged({}, in_force=first.texts).settings.converter_max_parallel == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CONVERTER_ENABLED", "maybe"),
        ("CONVERTER_ENABLED", ""),
        ("CONVERTER_MAX_PARALLEL", ""),
        ("CONVERTER_MAX_PARALLEL", "3.5"),
        ("CONVERTER_MAX_CPU", "4 cores"),
        ("CONVERTER_MAX_MEMORY", "4GB"),
        ("CONVERTER_IMAGE", " "),
        ("CONVERTER_CALLBACK_HOSTS", "a:80"),
        ("CONVERTER_RESTORE_LABELS", "a b"),
        ("CONVERTER_VOLUME_FOLDER", "../x"),
        ("CONVERTER_READ_ONLY_FOLDERS", "a/../b"),
        ("CONVERTER_POD_SETTINGS", "runtimeClassName: A B"),
        ("WATCH_NAMESPACES", "ok,NOT"),
        ("WATCH_NAMESPACES", ","),
        ("WATCH_NAMESPACES", "*,ok"),
        ("WATCH_NAMESPACES", "team-*"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_an_invalid_setting_is_told_and_changes_nothing(name: str, text: str) -> None:
    result = judged({name: text})
    assert [p.name for p in result.problems] == [name]
    assert result.settings == judged({}).settings
    assert problem(result).startswith(f"{name} is {text.strip()!r}")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CONVERTER_MAX_PARALEL", "Did you mean CONVERTER_MAX_PARALLEL?"),
        ("converter_max_parallel", "Did you mean CONVERTER_MAX_PARALLEL?"),
        ("SOMETHING_ELSE_ENTIRELY_42", "Remove it"),
        ("POD_NAMESPACE", "Set it in the Deployment"),
    ],
)
def test_an_unknown_setting_is_told(name: str, hint: str) -> None:
    result = judged({name: "5"})
    assert [p.name for p in result.problems] == [name]
    assert hint in problem(result)
    assert result.settings == judged({}).settings


def test_the_environment_overrides_the_config_map() -> None:
    result = judged({"CONVERTER_MAX_PARALLEL": "5"}, {"CONVERTER_MAX_PARALLEL": "9", "PATH": "x"})
    assert (result.settings.converter_max_parallel, result.problems) == (9, ())
    only = judged({"PROBE_PORT": "1"}, {"PROBE_PORT": "2", "POD_NAME": "p"}).settings
    assert (only.probe_port, only.pod_name) == (2, "p")


@pytest.mark.parametrize(
    "text",
    [
        "labels:\n  team: {{ .Values.team }}",
        "? [a]\n: b",
        "? {a: b}\n: b",
        "hostUsers: !!bool maybe",
        "labels: {a: !!int ''}",
        "labels: {a: !!float ''}",
        "labels: {a: !!timestamp x}",
        "labels: {a: 2026-99-99}",
        "labels: {a: !!binary é}",
        "labels: {a: !!python/none x}",
        "labels: !!set [a]",
        "labels: !!omap x",
        "labels: {a: " + "9" * 5000 + "}",
        "<<: x",
        "<<: [x]",
        "labels: {<<: {a: b}, [c]: d}",
        "=: x",
        "\x00",
        "[" * 2000,
    ],
)
def test_a_document_that_yaml_cannot_read_is_told_and_ends_nothing(text: str) -> None:
    first = judged({"CONVERTER_POD_SETTINGS": "runtimeClassName: gvisor"})
    result = judged({"CONVERTER_POD_SETTINGS": text}, in_force=first.texts)
    assert problem(result).startswith("CONVERTER_POD_SETTINGS is ")
    assert "cannot be read" not in problem(result)  # the text says what to write
    assert result.settings == first.settings


def test_a_key_that_is_not_a_text_is_told_with_its_line() -> None:
    result = judged({"CONVERTER_POD_SETTINGS": "labels:\n  team: {{ .Values.team }}"})
    assert "line 2: a key must be a text" in problem(result)


def _broken(text: str) -> str:
    if text == "broken":
        raise KeyError(text)
    return text


class _BrokenSettings(SettingsModel):
    value: Annotated[str, AfterValidator(_broken)] = "a"


def test_a_mistake_in_a_validator_is_an_invalid_setting() -> None:
    result = judge(_BrokenSettings, {}, {"VALUE": "broken"}, {"value": "b"})
    assert result.settings.value == "b"
    assert [p.text for p in result.problems] == [
        "VALUE is 'broken': it cannot be read (KeyError). The value in force is 'b'"
    ]


def test_an_invalid_environment_does_not_end_the_operator() -> None:
    result = judged({}, {"CONVERTER_MAX_PARALLEL": "four", "PROBE_PORT": "http"})
    assert (result.settings.converter_max_parallel, result.settings.probe_port) == (3, 8080)
    assert {p.name for p in result.problems} == {"CONVERTER_MAX_PARALLEL", "PROBE_PORT"}


def test_a_line_end_is_no_part_of_a_setting() -> None:
    assert judged({"CONVERTER_MAX_PARALLEL": "5\n"}).settings.converter_max_parallel == 5


PRIVATE_URL = "https://user:s3cret@h.example/hook?token=s3cret"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CONVERTER_CALLBACK_URL", PRIVATE_URL),
        ("CONVERTER_CALLBACK_URL", "ftp://h.example/s3cret"),
        ("CONVERTER_CALLBACK_URL", "s3cret"),
        ("CONVERTER_CALLBACK_HOSTS", PRIVATE_URL),
        ("CONVERTER_CALLBACK_HOSTS", f"a, {PRIVATE_URL}"),
        ("CONVERTER_CALLBACK_HOSTS_BY_NAMESPACE", f"team-a={PRIVATE_URL}"),
        ("CONVERTER_POD_SETTINGS", f"annotations: {{a: {PRIVATE_URL}}}\nx: y"),
        ("LOG_LEVEL", PRIVATE_URL),
        (PRIVATE_URL, "1"),
    ],
)
def test_no_message_shows_what_a_url_may_contain(name: str, text: str) -> None:
    told = problem(judged({name: text}))
    assert "s3cret" not in told
    assert name == PRIVATE_URL or told.startswith(f"{name} is ")


@pytest.mark.parametrize("model", [Settings, GatewaySettings])
def test_every_number_has_an_upper_bound(model: type[SettingsModel]) -> None:
    """Larger ones would be refused by the API server in each Job, or overflow in a decision."""
    for name, field in model.model_fields.items():
        if field.annotation in (int, float):
            for text in ("1" + "0" * 15 + "0", "9" * 400, "9" * 5000):
                assert parse_error(model, name, text), name


@pytest.mark.parametrize("name", [n for n in Settings.model_fields if n.endswith("_seconds")])
def test_a_time_is_at_most_a_year(name: str) -> None:
    assert not parse_error(Settings, name, "5")
    assert parse_error(Settings, name, "31536001")


@pytest.mark.parametrize("name", ["CONVERTER_MAX_MEMORY", "CONVERTER_LIMITS_CPU"])
def test_a_quantity_has_a_limited_number_of_digits(name: str) -> None:
    assert parse_error(Settings, name.lower(), "9" * 5000)
    assert not parse_error(Settings, name.lower(), "9" * 15)


def test_only_the_first_unknown_names_are_compared_with_the_known_ones() -> None:
    problems = judged({f"CONVERTER_MAX_PARALEL_{n:04}": "1" for n in range(4000)}).problems
    assert len(problems) == 4000
    assert sum("Did you mean" in told.text for told in problems) == 20


PROTECTIVE = {
    "CONVERTER_ENABLED": ("true", "flase"),
    "CONVERTER_IMAGE": ("i:1", ""),
    "CONVERTER_POD_SETTINGS": ("hostUsers: false", "hostUser: false"),
    "CONVERTER_READ_ONLY_FOLDERS": ("input", "in put"),
    "CONVERTER_RUN_AS_GROUP": ("1000", "root"),
    "CONVERTER_RUN_AS_USER": ("1000", "0"),
    "CONVERTER_VOLUME_FOLDER": ("tenants/{namespace}", "tenants/{Namespace}"),
    "SHARED_VOLUME_CLAIM": ("claim", ""),
    "WATCH_NAMESPACES": ("a", "a;b"),
}
"""A valid and an invalid text of each protective setting."""


@pytest.mark.parametrize("name", sorted(PROTECTIVE))
def test_nothing_starts_if_a_protective_setting_is_invalid_at_a_start(name: str) -> None:
    valid, text = PROTECTIVE[name]
    live = LiveSettings(Settings, {})
    for _ in range(2):
        live.take({name: text, "CONVERTER_MAX_PARALLEL": "5"})
        assert not live.current.policy().enabled
        assert live.current.converter_max_parallel == 5
        (told,) = live.problems
        assert told.text.endswith("No conversion starts until you correct it")
    live.take({name: valid})
    assert (live.current.policy().enabled, live.problems) == (True, ())
    before = live.current
    live.take({name: text})  # the last valid text is known now
    assert live.current == before


@pytest.mark.parametrize("name", sorted(PROTECTIVE))
def test_an_invalid_environment_starts_nothing_either(name: str) -> None:
    live = LiveSettings(Settings, {name: PROTECTIVE[name][1]})
    assert not live.current.policy().enabled
    live.take({})
    assert not live.current.policy().enabled


def test_a_protective_setting_that_was_absent_at_the_start_has_its_default() -> None:
    live = LiveSettings(Settings, {})
    assert live.current.policy().enabled
    live.take({})
    live.take({"CONVERTER_POD_SETTINGS": "x: y"})
    assert live.current.policy().enabled
    assert "The value in force is ''" in live.problems[0].text


def test_a_pause_stays_a_pause() -> None:
    live = LiveSettings(Settings, {})
    live.take({"CONVERTER_ENABLED": "false", "CONVERTER_IMAGE": ""})
    live.take({"CONVERTER_ENABLED": "false", "CONVERTER_IMAGE": "i:1"})
    assert not live.current.policy().enabled
    live.take({"CONVERTER_ENABLED": "flase", "CONVERTER_IMAGE": "i:1"})
    assert not live.current.policy().enabled


def test_no_message_and_no_log_shows_the_callback_url_in_force() -> None:
    url = "https://h.example/hook?token=s3cret"
    first = judged(
        {"CONVERTER_CALLBACK_URL": url, "CONVERTER_POD_SETTINGS": f"labels: {{}} # {url}"}
    )
    assert first.settings.converter_callback_url == url
    assert "s3cret" not in f"{first.settings.loggable()}"
    assert first.settings.loggable()["converter_max_parallel"] == 3
    second = judged({"CONVERTER_CALLBACK_URL": "ftp://x"}, in_force=first.texts)
    assert second.settings.converter_callback_url == url
    assert problem(second) == (
        "CONVERTER_CALLBACK_URL is invalid: must start with http:// or https:// and must not "
        "contain a user name. The last valid value, or the default, is in force"
    )


def test_what_a_text_contains_cannot_flood_or_forge_a_message() -> None:
    result = judged({"LOG_LEVEL": "x\n\u202eforged" + "y" * 5000, "B\u202eAD" * 500: "1"})
    for told in result.problems:
        assert len(told.text.encode()) <= 1024
        assert not set("\n\u202e") & set(told.text)


def test_a_problem_is_logged_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "conversion_operator")
    live = LiveSettings(Settings, {"PROBE_PORT": "http"})
    for _ in range(3):
        assert not live.take({"CONVERTER_MAX_PARALLEL": "four"})
    assert live.take({"CONVERTER_MAX_PARALLEL": "4"})
    texts = [record.getMessage() for record in caplog.records]
    assert [text.partition(":")[0] for text in texts] == [
        "Invalid setting",
        "Invalid setting",
        "The setting CONVERTER_MAX_PARALLEL is not invalid any more",
    ]
