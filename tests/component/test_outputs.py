"""Conversions of several outputs, and dry runs, from their creation to their end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from media_converter.contract import EXIT_CODES, Action, ExitReason, PlannedOutput
from tests.component.running import attempts_of, phase_of, running, status_of, until_phase
from tests.component.support import FakeApi, FakeCluster
from tests.component.support.invariants import check_all
from tests.component.support.scripts import (
    Ending,
    Script,
    output,
    plan,
    report_outputs,
    succeed,
)
from tests.component.support.tools import conversion_job

pytestmark = pytest.mark.judged

TYPES = {"jpg": "extract_thumbnail", "mp4": "video_to_mp4", "mp3": "audio_to_mp3"}
SECOND = "b" * 64


def several(name: str, *files: str, optional: str = "", **spec: Any) -> dict[str, Any]:
    """A ConversionJob with these outputs."""
    body = conversion_job(name, **spec)
    for field in ("conversionType", "outputFile"):
        del body["spec"][field]
    body["spec"]["outputs"] = [
        {"conversionType": TYPES[file.rpartition(".")[2]], "outputFile": file}
        | ({"optional": True} if file == optional else {})
        for file in files
    ]
    return body


def states(api: FakeApi, name: str) -> list[str]:
    return [each["state"] for each in status_of(api, name).get("outputs", ())]


def environments(api: FakeApi, name: str) -> list[dict[str, str]]:
    """The variables of the Jobs of a conversion, in the order in which they were created."""
    bodies = [json.loads(r.body) for r in api.audit.matching(verb="create", resource="jobs")]
    return [
        {each["name"]: each["value"] for each in container["env"]}
        for body in bodies
        if body["metadata"]["ownerReferences"][0]["name"] == name
        for container in body["spec"]["template"]["spec"]["containers"]
    ]


def ends(text: str, reason: ExitReason = ExitReason.COMPLETED, **script: Any) -> Script:
    code = EXIT_CODES[reason]
    return Script(Ending(code, "Error" if code else "Completed", text), **script)


async def test_several_outputs_succeed(api: FakeApi, cluster: FakeCluster, tmp_path: Path) -> None:
    made = report_outputs(output(size=10), output(size=20, sha256=SECOND), output(size=30))
    cluster.script("all", ends(made))
    async with running(api, tmp_path):
        api.create(several("all", "t/a.jpg", "/w/a.mp4", "w/a.mp3"))
        await until_phase(api, "all", "Succeeded")
    status = status_of(api, "all")
    assert states(api, "all") == ["Succeeded"] * 3
    assert (status["outputSize"], status["outputs"][1]["sha256"]) == (60, SECOND)
    assert "output" not in status
    (variables,) = environments(api, "all")
    uid = api.get("conversionjobs", "all")["metadata"]["uid"]
    assert variables["CONVERSION_UID"] == uid
    assert not {"CONVERSION_TYPE", "OUTPUT_FILE", "CONVERSION_OPTIONS", "DRY_RUN"} & {*variables}
    paths = [each["outputFile"] for each in json.loads(variables["OUTPUTS"])]
    assert paths == ["/t/a.jpg", "/w/a.mp4", "/w/a.mp3"]
    check_all(api, limit=3)


async def test_one_that_is_required_fails(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    reason = ExitReason.NO_VIDEO_STREAM
    made = report_outputs(output(size=10), output("Failed"), output("Pending"), reason=reason)
    cluster.script("song", ends(made, reason))
    async with running(api, tmp_path):
        api.create(several("song", "w/a.mp3", "w/a.mp4", "t/a.jpg"))
        await until_phase(api, "song", "Failed")
    status = status_of(api, "song")
    assert states(api, "song") == ["Succeeded", "Failed", "Pending"]
    assert (status["reason"], status["outputSize"]) == ("NoVideoStream", 10)
    assert status["outputs"][1]["reason"] == "NoVideoStream"
    assert attempts_of(api, "song") == ["NoVideoStream"]
    check_all(api, limit=3)


async def test_an_optional_one_is_skipped(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """What waits for the output that was left out fails, and what waits for the other starts."""
    cluster.script("song", ends(report_outputs(output("Skipped"), output()), hold=True))
    async with running(api, tmp_path):
        api.create(several("song", "t/a.jpg", "w/a.mp3", optional="t/a.jpg"))
        await until_phase(api, "song", "Running")
        picture = {"conversionType": "image_resize", "outputFile": "o/p.jpg"}
        sound = {"conversionType": "audio_to_mp3", "outputFile": "o/s.mp3"}
        api.create(conversion_job("picture", inputFile="t/a.jpg", **picture))
        api.create(conversion_job("sound", inputFile="w/a.mp3", **sound))
        waiting = ("picture", "sound")
        await api.until(
            lambda: {status_of(api, n).get("reason") for n in waiting} == {"WaitingForInput"}, 20
        )
        cluster.finish("song")
        await until_phase(api, "song", "Succeeded")
        await until_phase(api, "sound", "Succeeded")
        await until_phase(api, "picture", "Failed")
    assert states(api, "song") == ["Skipped", "Succeeded"]
    assert status_of(api, "picture")["reason"] == "InputNotMade"
    assert "left it out (NoVideoStream)" in status_of(api, "picture")["message"]
    assert environments(api, "picture") == []


async def test_a_retry_gets_what_a_killed_attempt_has_reported(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """An attempt that has not come so far does not take back what is complete."""
    killed = report_outputs(output(), output(sha256=SECOND), output("Pending"), reason=None)
    earlier = report_outputs(output(), output("Pending"), output("Pending"), reason=None)
    done = report_outputs(output(), output(sha256=SECOND), output())
    cluster.script(
        "film",
        Script(Ending(137, "Error", killed)),
        Script(Ending(137, "Error", earlier)),
        ends(done),
    )
    async with running(api, tmp_path):
        api.create(several("film", "t/a.jpg", "w/a.mp3", "w/a.mp4", maxRetries=2))
        await api.until(lambda: states(api, "film") == ["Succeeded"] * 2 + ["Pending"], 20)
        assert phase_of(api, "film") != "Succeeded"
        await until_phase(api, "film", "Succeeded", 60)
    known = [
        [each.get("sha256") for each in json.loads(variables["OUTPUTS"])]
        for variables in environments(api, "film")
    ]
    first = status_of(api, "film")["outputs"][0]["sha256"]
    assert known == [[None] * 3, [first, SECOND, None], [first, SECOND, None]]
    check_all(api, limit=3)


async def test_two_that_share_one_path_run_one_after_the_other(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    both = report_outputs(output(), output())
    cluster.script("first", ends(both, hold=True))
    cluster.script("second", ends(both))
    async with running(api, tmp_path):
        api.create(several("first", "t/1.jpg", "w/shared.mp3"))
        await until_phase(api, "first", "Running")
        api.create(several("second", "t/2.jpg", "/w/shared.mp3"))
        await api.until(lambda: status_of(api, "second").get("reason") == "PathBusy", 20)
        message = status_of(api, "second")["message"]
        assert "conversion first also writes /w/shared.mp3" in message
        cluster.finish("first")
        await until_phase(api, "second", "Succeeded")
    check_all(api, limit=3)


async def test_the_second_file_of_an_output_is_used_by_one_at_a_time(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    """Another storyboard with this WebVTT file waits, and so does who reads the file."""
    board = {"conversionType": "video_storyboard"}
    cluster.script("first", ends(report_outputs(output(), output()), hold=True))
    async with running(api, tmp_path):
        body = several("first", "t/1.jpg", "w/board.jpg")
        body["spec"]["outputs"][1] |= board
        api.create(body)
        await until_phase(api, "first", "Running")
        api.create(conversion_job("second", outputFile="/w/board.webp", **board))
        reader = {"conversionType": "media_info", "outputFile": "w/board.json"}
        api.create(conversion_job("reader", inputFile="w/board.vtt", **reader))
        reasons = {"second": "PathBusy", "reader": "WaitingForInput"}
        await api.until(
            lambda: {n: status_of(api, n).get("reason") for n in reasons} == reasons, 20
        )
        for name in reasons:
            assert "/w/board.vtt" in status_of(api, name)["message"]
        cluster.finish("first")
        for name in reasons:
            await until_phase(api, name, "Succeeded")
    check_all(api, limit=3)


async def test_a_dry_run_plans_and_blocks_nobody(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    planned = PlannedOutput(Action.ENCODE, "h264", width=1280, height=720, estimated_seconds=2.5)
    cluster.script("trial", plan(planned, hold=True))
    async with running(api, tmp_path, converter_callback_url=""):
        api.create(conversion_job("trial", outputFile="w/a.mp4", dryRun=True))
        await until_phase(api, "trial", "Running")
        api.create(conversion_job("real", outputFile="w/a.mp4"))
        reader = {"conversionType": "audio_to_mp3", "outputFile": "w/b.mp3"}
        cluster.script("reader", succeed())
        await until_phase(api, "real", "Succeeded")
        api.create(conversion_job("reader", inputFile="w/a.mp4", **reader))
        await until_phase(api, "reader", "Succeeded")
        cluster.finish("trial")
        await until_phase(api, "trial", "Succeeded")
    status = status_of(api, "trial")
    assert (status["reason"], status["plan"][0]["action"]) == ("Planned", "Encode")
    assert status["plan"][0]["estimatedSeconds"] == "2.500"
    assert not {"outputs", "output", "outputSize", "notify"} & {*status}
    (variables,) = environments(api, "trial")
    assert (variables["DRY_RUN"], "OUTPUT_FILE" in variables) == ("true", False)


async def test_a_cancel_half_way_keeps_what_is_complete(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path
) -> None:
    reason = ExitReason.TERMINATED
    text = report_outputs(output(size=7), output("Pending"), reason=reason)
    stopped = Ending(EXIT_CODES[reason], "Error", text)
    cluster.script("film", Script(hold=True, on_sigterm=stopped))
    async with running(api, tmp_path):
        api.create(several("film", "t/a.jpg", "w/a.mp4"))
        await until_phase(api, "film", "Running")
        api.mutate("conversionjobs", "film", lambda o: o["spec"].update(cancel=True))
        await until_phase(api, "film", "Cancelled")
    assert states(api, "film") == ["Succeeded", "Pending"]
    assert status_of(api, "film")["outputSize"] == 7
    check_all(api, limit=3)


@pytest.mark.parametrize(
    ("made", "word"),
    [
        ((output(), output("Pending")), "outputs[1] is Pending"),
        ((output(),), "reported no outputs"),
    ],
)
async def test_exit_code_0_is_no_success_if_an_output_is_not_reported(
    api: FakeApi, cluster: FakeCluster, tmp_path: Path, made: Any, word: str
) -> None:
    cluster.script("film", ends(report_outputs(*made)))
    async with running(api, tmp_path):
        api.create(several("film", "t/a.jpg", "w/a.mp4", maxRetries=0))
        await until_phase(api, "film", "Failed")
    assert status_of(api, "film")["reason"] == "ReportMissing"
    assert word in status_of(api, "film")["message"]
