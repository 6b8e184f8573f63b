"""The kubectl plugin as kubectl runs it, in a pseudo-terminal, from submit to retry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.component.kubectl_plugin import Plugin, build
from tests.e2e.support.commands import Kubectl
from tests.e2e.support.conversions import Conversion, Conversions

NAMESPACE = ("-n", "my-network")


@pytest.fixture(scope="module")
def plugin(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    config = Path(kubectl.environment()["KUBECONFIG"])
    return Plugin(build(tmp_path_factory.mktemp("plugin")), config)


def adopt(kubectl: Kubectl, conversions: Conversions, name: str) -> Conversion:
    return conversions.adopt(kubectl.get(*NAMESPACE, "convjob", name))


async def test_from_submit_to_the_log(
    plugin: Plugin, kubectl: Kubectl, conversions: Conversions, run_folder: str, volume: Path
) -> None:
    done = await plugin.in_terminal(
        *("submit", "input/big-buck-bunny.mov", *NAMESPACE, "--name", "bunny", "--watch"),
        *("--to", "mp4", "--to", "thumbnail", "--option", "resolution=240p"),
        *("--output-folder", run_folder),
    )
    bunny = adopt(kubectl, conversions, "bunny")
    assert done.code == 0, done
    assert "done in" in done.out
    assert (volume / run_folder / "big-buck-bunny.mp4").stat().st_size > 0
    assert (volume / run_folder / "big-buck-bunny_thumb.jpg").stat().st_size > 0
    described = await plugin.run("describe", "bunny", *NAMESPACE)
    assert "Succeeded: Completed" in described.out
    assert f"{run_folder}/big-buck-bunny.mp4 (video_to_mp4, Succeeded" in described.out
    logs = await plugin.run("logs", "bunny", *NAMESPACE)
    assert (logs.code, bool(logs.out)) == (0, True), logs
    assert bunny.phase == "Succeeded"


async def test_a_running_conversion_is_followed_and_cancelled(
    plugin: Plugin, conversions: Conversions
) -> None:
    film = conversions.long("film")
    film.until_phase("Running")
    logs = await plugin.run("logs", film.name, *NAMESPACE)
    assert (logs.code, logs.err) == (0, ""), logs
    watched = await plugin.in_terminal(
        "watch", film.name, *NAMESPACE, columns=40, interrupt_after=film.name[:4]
    )
    assert watched.code == 130, watched
    assert (await plugin.run("cancel", film.name, *NAMESPACE)).code == 0
    assert (await plugin.run("wait", film.name, *NAMESPACE, "--timeout", "60s")).code == 3
    assert film.phase == "Cancelled"


async def test_a_failure_is_explained_and_retried(
    plugin: Plugin, kubectl: Kubectl, conversions: Conversions, run_folder: str
) -> None:
    words = ("submit", "input/nowhere.mov", "-f", f"{run_folder}/nowhere.mp4", *NAMESPACE)
    failed = await plugin.run(*words, "--name", "nowhere", "--watch")
    adopt(kubectl, conversions, "nowhere")
    assert failed.code == 3, failed
    assert "InputNotFound" in failed.err
    assert "kubectl conversion retry nowhere -n my-network" in failed.err
    again = await plugin.run("retry", "nowhere", *NAMESPACE, "--watch", "-y")
    (retried,) = [
        item["metadata"]["name"]
        for item in kubectl.get(*NAMESPACE, "convjob")["items"]
        if item["metadata"]["name"].startswith("nowhere-retry-")
    ]
    adopt(kubectl, conversions, retried)
    assert again.code == 3, again


async def test_the_doctor_finds_no_fault(plugin: Plugin, kubectl: Kubectl) -> None:
    done = await plugin.run("doctor", *NAMESPACE, "-o", "json")
    found = json.loads(done.out)["findings"]
    assert [each for each in found if each["level"] in ("FAULT", "unknown")] == []
