"""The kubectl plugin, built and run by kubectl, against the operator's API."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubectl_conversion import model
from kubectl_conversion.retry import retry_name
from tests.component.kubectl_plugin import Plugin, build, kubeconfig, server_of
from tests.component.running import running, until_phase
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.logs import PodLog
from tests.component.support.scripts import succeed
from tests.component.support.tools import conversion_job


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("plugin"))


@pytest.fixture
def plugin(api: FakeApi, built: Path, tmp_path: Path) -> Plugin:
    server, token = server_of(api)
    return Plugin(built, kubeconfig(tmp_path / "kubeconfig", server, token))


@pytest.mark.judged
async def test_a_file_is_submitted_and_watched_to_its_end(
    api: FakeApi, cluster: FakeCluster, plugin: Plugin, tmp_path: Path
) -> None:
    cluster.default = succeed(size=12345)
    async with running(api, tmp_path / "operator"):
        done = await plugin.run(
            *("submit", "input/film.mov", "--to", "mp4", "--option", "resolution=720p", "--watch")
        )
    assert done.code == 0, done
    (job,) = api.objects("conversionjobs")
    assert job["spec"] == {
        "conversionType": "video_to_mp4",
        "inputFile": "input/film.mov",
        "outputFile": "input/film.mp4",
        "options": {"resolution": "720p"},
    }
    assert "created" in done.out
    assert "Succeeded" in done.out


def ended(name: str, phase: str = "Failed", **spec: Any) -> dict[str, Any]:
    """A ConversionJob that has ended, in the form of ``create`` and of ``patch``."""
    return conversion_job(name, **spec) | {"_phase": phase}


def store(api: FakeApi, job: dict[str, Any], **status: Any) -> dict[str, Any]:
    """Create a ConversionJob with a status."""
    phase = job.pop("_phase", "Failed")
    api.create(job)
    moment = "2026-11-28T12:00:00Z"
    condition = {"type": "Finished", "status": "True", "reason": "InputDamaged"}
    condition |= {"message": "x", "lastTransitionTime": moment}
    whole = {
        "phase": phase,
        "reason": "InputDamaged",
        "message": "the file is damaged",
        "conditions": [condition],
        "completionTime": moment,
        **status,
    }
    return api.patch(
        "conversionjobs", job["metadata"]["name"], {"status": whole}, subresource="status"
    )


@pytest.mark.judged
async def test_a_retry_is_one_new_conversion(api: FakeApi, plugin: Plugin) -> None:
    job = ended("film", outputs=None)
    job["metadata"]["labels"] = {"batch": "7", "argocd.argoproj.io/instance": "media"}
    stored = store(api, job)
    first = await plugin.run("retry", "film")
    assert first.code == 0, first
    again = await plugin.run("retry", "film")
    assert again.code == 3
    assert "retried already" in again.err
    names = sorted(each["metadata"]["name"] for each in api.objects("conversionjobs"))
    assert len(names) == 2
    made = api.get("conversionjobs", names[1])
    assert names[1].startswith("film-retry-")
    assert made["spec"] == stored["spec"]
    assert made["metadata"]["labels"] == {"batch": "7"}
    assert made["metadata"]["annotations"] == {
        "converter.mynetwork.io/retry-of": stored["metadata"]["uid"]
    }


async def test_all_that_failed_are_retried_after_one_question(api: FakeApi, plugin: Plugin) -> None:
    for number in range(3):
        store(api, ended(f"bad-{number}"))
    store(api, ended("good", "Succeeded"))
    nobody = await plugin.run("retry", "--failed")
    assert nobody.code == 2
    assert "add --yes" in nobody.err
    refused = await plugin.in_terminal("retry", "--failed", typed="n\n")
    assert refused.code == 1
    assert "Retry 3 conversions (" in refused.out
    assert len(api.objects("conversionjobs")) == 4
    done = await plugin.in_terminal("retry", "--failed", typed="y\n")
    assert done.code == 0, done
    assert len(api.objects("conversionjobs")) == 7
    # What has been retried is not retried again.
    again = await plugin.run("retry", "--failed", "--yes")
    assert (again.code, again.out, again.err) == (0, "", "There are none.\n")
    assert len(api.objects("conversionjobs")) == 7


@pytest.mark.judged
async def test_a_conversion_is_cancelled(api: FakeApi, plugin: Plugin) -> None:
    api.create(conversion_job("film"))
    store(api, ended("old"))
    done = await plugin.run("cancel", "film", "old")
    assert done.code == 0, done
    assert "old has ended already: Failed" in done.err
    assert api.get("conversionjobs", "film")["spec"]["cancel"] is True
    assert "cancel" not in api.get("conversionjobs", "old")["spec"]
    missing = await plugin.run("cancel", "nowhere")
    assert missing.code == 1
    assert "not found" in missing.err


@pytest.mark.judged
async def test_wait_says_how_conversions_ended(api: FakeApi, plugin: Plugin) -> None:
    store(api, ended("good", "Succeeded"))
    store(api, ended("bad"))
    api.create(conversion_job("slow"))
    assert (await plugin.run("wait", "good")).code == 0
    bad = await plugin.run("wait", "good", "bad")
    assert bad.code == 3
    assert "InputDamaged: the file is damaged" in bad.out
    slow = await plugin.run("wait", "slow", "--timeout", "1s")
    assert slow.code == 4
    assert "1 conversion did not end in 1s: slow" in slow.err
    missing = await plugin.run("wait", "nowhere")
    assert missing.code == 1
    assert "does not exist" in missing.err


async def test_nothing_that_users_write_reaches_the_terminal_raw(
    api: FakeApi, plugin: Plugin
) -> None:
    name = "a" * 253
    job = ended(name)
    stored = store(
        api,
        job,
        message="red \x1b[31m line\r\nforged",
        attempts=[{"number": 1, "startTime": "2026-11-28T12:00:00Z"}],
        logs="one\x1b[2J\x9b31m\ntwo\r\n",
    )
    assert "\x1b" in stored["status"]["message"]
    for words in (["list"], ["list", "-o", "wide"], ["describe", name], ["logs", name]):
        done = await plugin.in_terminal(*words, columns=40)
        assert done.code == 0, done
        lines = done.out.replace("\r\n", "\n")
        assert not [c for c in lines if c != "\n" and not c.isprintable()], (words, lines)
    assert "\\x1b[31m line\\x0d\\x0aforged" in (await plugin.run("describe", name)).out


async def test_a_narrow_terminal_shows_whole_lines(api: FakeApi, plugin: Plugin) -> None:
    store(api, ended("a" * 253))
    store(api, ended("film", "Succeeded"))
    done = await plugin.in_terminal("list", columns=40)
    lines = done.out.split("\r\n")
    assert max(map(len, lines[:3])) <= 40
    assert "…" in done.out
    plain = await plugin.run("list")
    assert "a" * 253 in plain.out
    assert "\x1b" not in plain.out


@pytest.mark.parametrize("columns", [40, 120])
async def test_a_live_table_ends_with_ctrl_c(api: FakeApi, plugin: Plugin, columns: int) -> None:
    store(
        api,
        ended("film", "Running"),
        reason="Running",
        progress={"percent": 45, "speed": "2.31x", "etaSeconds": 130},
    )
    plugin.env["NO_COLOR"] = "1"
    done = await plugin.in_terminal("watch", columns=columns, interrupt_after="left")
    assert done.code == 130, done
    assert "45% 2.31x 2m10s left" in done.out
    assert ("━" in done.out) == (columns == 120)
    assert "\x1b[3" not in done.out.replace("\x1b[38", "")  # no colour


async def test_errors_say_what_to_do(api: FakeApi, plugin: Plugin, tmp_path: Path) -> None:
    plugin.config = kubeconfig(tmp_path / "none", "http://127.0.0.1:1", context="")
    done = await plugin.run("list")
    assert done.code == 1
    assert "kubectl config use-context NAME" in done.err
    plugin.config = kubeconfig(tmp_path / "closed", "http://127.0.0.1:1")
    done = await plugin.run("list")
    assert (done.code, done.out) == (1, "")
    assert "kubectl cluster-info" in done.err
    # "Could not look" is not "nothing there".
    assert "No conversions" not in done.err


async def test_names_are_completed(api: FakeApi, plugin: Plugin) -> None:
    api.create(conversion_job("film-1"))
    api.create(conversion_job("song"))
    assert (await plugin.run("__complete", "describe", "f")).out == "film-1\n:4\n"
    verbs = (await plugin.run("__complete", "re")).out
    assert verbs.startswith("retry\tRun conversions again")
    assert (await plugin.run("__complete", "list", "-o", "")).out == "json\nyaml\nwide\nname\n:4\n"
    assert (await plugin.run("__complete", "list", "--all")).out == "--all-namespaces\n:4\n"


@pytest.mark.judged
async def test_objects_are_printed_for_programs(api: FakeApi, plugin: Plugin) -> None:
    stored = store(api, ended("film"), message="a: \x1b b")
    as_json = json.loads((await plugin.run("list", "-o", "json")).out)
    as_yaml = yaml.safe_load((await plugin.run("list", "-o", "yaml")).out)
    assert as_json == as_yaml
    assert as_json["items"][0]["spec"] == stored["spec"]
    assert as_json["items"][0]["kind"] == "ConversionJob"
    names = (await plugin.run("list", "-o", "name")).out
    assert names == "conversionjob.converter.mynetwork.io/film\n"


async def test_logs_come_from_the_pod_and_then_from_the_status(
    api: FakeApi, cluster: FakeCluster, plugin: Plugin, tmp_path: Path
) -> None:
    cluster.script("film", succeed(hold=True))
    async with running(api, tmp_path / "operator"):
        api.create(conversion_job("film"))
        await until_phase(api, "film", "Running")
        following = asyncio.create_task(plugin.run("logs", "film", "-f"))
        (pod,) = api.objects("pods")
        log = api.pod_logs[pod["metadata"]["uid"]]
        await api.until(lambda: api.audit.count(verb="get", resource="pods", subresource="log") > 0)
        log.write(api.clock.now(), b"frame \x1b[2J one\n")
        log.write(api.clock.now(), b'{"progress":{"percent":23}}\n')
        cluster.finish("film")
        await until_phase(api, "film", "Succeeded")
        done = await following
        assert done.code == 0, done
        assert done.out.strip() == "frame \\x1b[2J one"


async def test_a_pod_that_only_has_our_labels_is_not_read(api: FakeApi, plugin: Plugin) -> None:
    stored = store(
        api,
        ended("film"),
        attempts=[{"number": 1, "startTime": "2026-11-28T12:00:00Z", "podUID": "true-uid"}],
        logs="the stored log\n",
    )
    labels = {
        "converter.mynetwork.io/conversion-uid": stored["metadata"]["uid"],
        "converter.mynetwork.io/attempt": "1",
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "foreign", "namespace": "my-network", "labels": labels},
        "spec": {"nodeName": "node-1", "containers": [{"name": "converter", "image": "x"}]},
    }
    uid = api.create(pod)["metadata"]["uid"]
    running_ = {"name": "converter", "state": {"running": {}}, "ready": True, "restartCount": 0}
    running_ |= {"image": "x", "imageID": "x"}
    api.patch(
        "pods", "foreign", {"status": {"containerStatuses": [running_]}}, subresource="status"
    )
    log = api.pod_logs[uid] = PodLog()
    log.write(api.clock.now(), b"forged\n")
    log.close()
    done = await plugin.run("logs", "film")
    assert (done.code, done.out) == (0, "the stored log\n"), done
    later = await plugin.run("logs", "film", "--attempt", "9")
    assert (later.code, later.out) == (3, ""), later
    assert "film has had 1 attempt." in later.err


async def test_the_name_of_a_retry_may_be_taken_by_another(api: FakeApi, plugin: Plugin) -> None:
    stored = store(api, ended("film"))
    api.create(conversion_job(retry_name(model.parse(stored))))
    done = await plugin.run("retry", "film")
    assert done.code == 1
    assert "is no retry of film" in done.err


async def test_what_has_not_ended_is_not_retried(api: FakeApi, plugin: Plugin) -> None:
    api.create(conversion_job("film"))
    done = await plugin.run("retry", "film")
    assert done.code == 2
    assert "has not ended" in done.err
    assert len(api.objects("conversionjobs")) == 1


async def test_a_wait_survives_a_break_of_the_connection(api: FakeApi, plugin: Plugin) -> None:
    api.create(conversion_job("film"))
    waiting = asyncio.create_task(plugin.run("wait", "film", "--timeout", "60s"))
    await api.until(lambda: bool(api.server.open_watches()))
    async with api.down():
        pass
    moment = "2026-11-28T12:00:00Z"
    condition = {"type": "Finished", "status": "True", "reason": "Completed", "message": "x"}
    status = {"phase": "Succeeded", "reason": "Completed", "message": "converted"}
    whole = status | {"conditions": [condition | {"lastTransitionTime": moment}]}
    api.patch("conversionjobs", "film", {"status": whole}, subresource="status")
    done = await waiting
    assert (done.code, done.out) == (0, "film   Succeeded   done\n"), done


async def test_a_word_that_means_nothing_creates_nothing(api: FakeApi, plugin: Plugin) -> None:
    done = await plugin.run("submit", "a.mov", "--to", "web-video")
    assert done.code == 2
    assert "nor a ConversionProfile in namespace my-network" in done.err
    assert api.objects("conversionjobs") == []


@pytest.mark.judged
async def test_queues_are_held_resumed_and_limited(api: FakeApi, plugin: Plugin) -> None:
    queue = {
        "apiVersion": "converter.mynetwork.io/v1alpha1",
        "kind": "ConversionQueue",
        "metadata": {"name": "bulk", "namespace": "my-network"},
        "spec": {},
    }
    api.create(queue)
    where = ("--operator-namespace", "my-network")
    assert (await plugin.run("queue", "hold", "bulk", "--drain", *where)).code == 0
    assert (await plugin.run("queue", "limit", "bulk", "2", *where)).code == 0
    assert api.get("conversionqueues", "bulk")["spec"] == {
        "stopPolicy": "HoldAndDrain",
        "maxParallel": 2,
    }
    listed = await plugin.run("queue", "list", *where)
    assert listed.out.split()[-6:] == ["bulk", "2", "HoldAndDrain", "?", "?", "?"]
    assert (await plugin.run("queue", "resume", "bulk", *where)).code == 0
    assert (await plugin.run("queue", "limit", "bulk", "none", *where)).code == 0
    assert api.get("conversionqueues", "bulk")["spec"] == {"stopPolicy": "None"}
    missing = await plugin.run("queue", "hold", "nowhere", *where)
    assert missing.code == 1
    assert "not found" in missing.err
