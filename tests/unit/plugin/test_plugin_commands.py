"""What commands do with the answers of an API server. Fixed answers stand for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from kubectl_conversion import cli, kubectl, options, source, yaml_text
from kubectl_conversion.commands import watch
from kubectl_conversion.kubectl import Failure, Kubectl, KubectlError
from kubectl_conversion.retry import retry_name
from kubectl_conversion.source import Caller, Change
from tests.unit.plugin.test_plugin_decisions import conversion

JOBS = kubectl.path("conversionjobs", "media")


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The ConversionJobs that exist, by name. A new one has succeeded, with a plan, at once."""
    jobs: dict[str, Any] = {}

    def get(_: Kubectl, url: str) -> Any:
        if found := jobs.get(url.partition("?")[0].rpartition("/")[2]):
            return found
        raise KubectlError(Failure.NOT_FOUND, f"{url} not found")

    def create(_: Kubectl, url: str, obj: Any) -> Any:
        if obj["metadata"]["name"] in jobs:
            raise KubectlError(Failure.EXISTS, "it exists")
        metadata = obj["metadata"] | {"uid": "new"}
        jobs[metadata["name"]] = obj | {
            "metadata": metadata,
            "status": {"phase": "Succeeded", "reason": "Planned", "plan": [{"action": "convert"}]},
        }
        return obj | {"metadata": metadata}

    def patch(_: Kubectl, plural: str, namespace: str, name: str, patch: Sequence[Any]) -> Any:
        jobs[name]["spec"] |= {"cancel": True}
        return jobs[name]

    for each in (get, create, patch):
        monkeypatch.setattr(Kubectl, each.__name__, each)
    monkeypatch.setattr(Kubectl, "get_list", lambda *_: {"items": list(jobs.values())})
    return jobs


def run(*words: str) -> Any:
    return CliRunner().invoke(cli.build(words[0]), [*words, "-n", "media"])


@pytest.mark.parametrize("flag", ["--dry-run", "--watch"])
@pytest.mark.parametrize("form", ["json", "yaml", "name"])
def test_a_program_reads_the_final_object_alone(
    stored: dict[str, Any], flag: str, form: str
) -> None:
    done = run("submit", "a.mov", "--to", "mp4", "--name", "film", flag, "-o", form)
    assert done.exit_code == 0, done
    assert "created" in done.stderr
    if form == "name":
        assert done.stdout == "conversionjob.converter.mynetwork.io/film\n"
        return
    read = json.loads(done.stdout) if form == "json" else yaml.safe_load(done.stdout)
    assert read["status"]["plan"] == [{"action": "convert"}]


def test_one_that_is_gone_does_not_keep_another_from_being_cancelled(
    stored: dict[str, Any],
) -> None:
    stored["film"] = dict(conversion().raw)
    done = run("cancel", "gone", "film")
    assert stored["film"]["spec"]["cancel"] is True
    assert isinstance(done.exception, KubectlError)
    assert "gone" in done.exception.message


def test_one_that_is_gone_does_not_hide_another(stored: dict[str, Any]) -> None:
    stored["film"] = dict(conversion().raw)
    for verb in ("list", "describe"):
        done = run(verb, "gone", "film")
        assert "film" in done.stdout
        assert isinstance(done.exception, KubectlError)


def test_a_second_retry_says_no_and_names_the_first(stored: dict[str, Any]) -> None:
    old = conversion(phase="Failed")
    stored["film"] = dict(old.raw)
    assert run("retry", "film").exit_code == 0
    again = run("retry", "film")
    assert again.exit_code == 3
    assert retry_name(old) in again.stderr


@pytest.mark.parametrize(
    "words", [("cancel", ""), ("describe", "a", ""), ("queue", "hold", ""), ("logs", "")]
)
def test_an_empty_name_is_refused(stored: dict[str, Any], words: tuple[str, ...]) -> None:
    stored[""] = dict(conversion().raw)
    done = run(*words)
    assert done.exit_code == 2
    assert "empty" in done.stderr


@pytest.mark.parametrize("empty", [("", "--to", "mp4"), ("a.mov", "--to", ""), ("a.mov", "-f", "")])
def test_empty_words_create_nothing(stored: dict[str, Any], empty: tuple[str, ...]) -> None:
    assert run("submit", *empty).exit_code == 2
    assert stored == {}


@pytest.mark.parametrize("error", [RuntimeError("x"), KubectlError(Failure.OTHER, "x")])
def test_an_error_of_any_kind_ends_the_table(error: Exception) -> None:
    def changes() -> Iterator[Change]:
        yield Change("LISTED", ())
        raise error

    table = watch._Live(Caller(Kubectl(), "media"))
    with pytest.raises(type(error)):
        table.run(changes())


def test_a_watch_that_ends_at_once_is_not_opened_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []
    slept: list[float] = []

    class Short(Kubectl):
        def get_list(self, url: str) -> dict[str, Any]:
            return {"items": [], "metadata": {"resourceVersion": "1"}}

        @contextmanager
        def stream(self, url: str) -> Iterator[Iterator[bytes]]:
            opened.append(url)
            yield iter(())

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        list(source.changes(Caller(Short(), "media"), "", "", None))
    assert slept == [1.0, 1.0, 1.0]
    assert len(opened) == 3


@pytest.mark.parametrize("text", ["a\n", "yes", "a\nb", "plain", "é"])
def test_a_text_survives_yaml(text: str) -> None:
    assert yaml.safe_load(yaml_text.dump({"k": text})) == {"k": text}


def test_a_single_error_keeps_its_cure() -> None:
    first, second = KubectlError(Failure.FORBIDDEN, "a"), KubectlError(Failure.OTHER, "b")
    with pytest.raises(KubectlError) as caught:
        options.check([first])
    assert caught.value is first
    with pytest.raises(typer.Exit):
        options.check([first, second])
    options.check([])
