"""Several outputs and dry runs: what a report proves, and what the status keeps of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_operator.api.reasons import Reason
from conversion_operator.api.spec import NO_OUTPUTS
from conversion_operator.api.status import ATTEMPTS_KEPT, Attempt, ConversionJobStatus, Phase
from conversion_operator.callbacks.message import build_message
from conversion_operator.core.ended import keep_used
from conversion_operator.core.manifest import build_job, build_sweep
from conversion_operator.core.model import Conversion
from conversion_operator.core.outputs import merge
from conversion_operator.core.plan import Plan
from conversion_operator.core.reconcile import callback_url, decide
from conversion_operator.core.status_size import STATUS_MAX_BYTES, limit_status_size
from conversion_operator.core.sweep import may_want_sweep
from conversion_operator.core.transitions import Transition
from conversion_operator.core.work_class import is_light
from media_converter.contract import (
    EXIT_CODES,
    MAX_OUTPUT_MESSAGE_LENGTH,
    MAX_OUTPUTS,
    Action,
    ExitReason,
    Output,
    OutputResult,
    OutputState,
    PlannedOutput,
    Report,
)
from media_converter.report_json import dump_report, parse_report
from tests.unit.operator.builders import (
    NONE,
    POLICY,
    T0,
    children,
    conversion,
    ended,
    job,
    snapshot,
    status,
    step,
    succeeded,
)

THUMBNAIL = {"conversionType": "extract_thumbnail", "outputFile": "out/a.jpg"}
VIDEO = {"conversionType": "video_to_mp4", "outputFile": "/out/a.mp4"}
SOUND = {"conversionType": "audio_to_mp3", "outputFile": "out/a.mp3", "optional": True}
FACTS = Output("a" * 64, "mp4", "h264", "aac", 1280, 720, 5.28)
MADE = OutputResult(OutputState.SUCCEEDED, 100, FACTS)
PENDING = OutputResult()
FAILED = OutputResult(
    OutputState.FAILED, reason=ExitReason.NO_AUDIO_STREAM, message="there is no audio"
)
SKIPPED = FAILED._replace(state=OutputState.SKIPPED)
PLAN = PlannedOutput(Action.COPY, "h264", duration_seconds=5.28, memory=10**8, estimated_size=9)


def several(*outputs: dict[str, Any], **changes: Any) -> Conversion:
    listed = list(outputs) or [THUMBNAIL, VIDEO, SOUND]
    changes = {"conversionType": None, "outputFile": None, "outputs": listed} | changes
    return conversion(**changes)


def text(*outputs: OutputResult, **changes: Any) -> str:
    report = Report(final=True, reason=ExitReason.COMPLETED, outputs=outputs)
    return dump_report(report._replace(**changes)).decode()


def end(subject: Conversion, message: str, exit_code: int = 0) -> ConversionJobStatus:
    pod = succeeded(report=message) if exit_code == 0 else ended(exit_code, "Error", message)
    return status(step(subject, children(job(), pod), 12)[1])


def states(found: ConversionJobStatus) -> list[str]:
    return [str(each.state) for each in found.outputs or ()]


@pytest.mark.parametrize("third", [MADE, FAILED, SKIPPED])
def test_a_conversion_succeeds_without_an_optional_output(third: OutputResult) -> None:
    found = end(several(), text(MADE, MADE, third, output_size=1))
    assert (found.phase, found.reason) == (Phase.SUCCEEDED, ExitReason.COMPLETED)
    assert states(found) == ["Succeeded", "Succeeded", str(third.state)]
    assert found.output_size == (300 if third is MADE else 200)
    assert found.output is None
    assert found.outputs
    assert found.outputs[0].duration_seconds == "5.280"


@pytest.mark.parametrize(
    ("report", "word"),
    [
        (text(MADE, PENDING, MADE), "outputs[1] is Pending"),
        (text(MADE, FAILED, MADE), "outputs[1] is Failed"),
        (text(SKIPPED, MADE, MADE), "outputs[0] is Skipped"),
        (text(MADE, MADE, PENDING), "outputs[2] is Pending"),
        (text(MADE, MADE), "reported no outputs"),
        (text(), "reported no outputs"),
        (text(output_size=1, output=FACTS), "reported no outputs"),
        (text(plan=(PLAN, PLAN, PLAN)), "reported no outputs"),
    ],
)
def test_exit_code_0_without_a_required_output_is_no_success(report: str, word: str) -> None:
    found = end(several(maxRetries=0), report)
    assert (found.phase, found.reason) == (Phase.FAILED, Reason.REPORT_MISSING)
    assert word in found.message
    assert found.plan is None
    assert len(found.outputs or ()) == 3


@pytest.mark.parametrize(("third", "phase"), [(MADE, Phase.SUCCEEDED), (SKIPPED, Phase.QUEUED)])
def test_if_the_spec_cannot_be_read_no_output_counts_as_optional(
    third: OutputResult, phase: Phase
) -> None:
    """An operator of a later release may have started the attempt."""
    running_one = replace(several(), spec=None, unsupported="spec.x is a field")
    found = end(running_one, text(MADE, MADE, third))
    assert (found.phase, len(found.outputs or ())) == (phase, 3)


def test_the_form_with_one_output_has_no_list() -> None:
    found = end(conversion(), text(MADE, output_size=7, output=FACTS, plan=(PLAN,)))
    assert (found.phase, found.outputs, found.plan) == (Phase.SUCCEEDED, None, None)
    assert found.output_size == 7
    assert found.output
    one = end(several(VIDEO), text(MADE))
    assert (states(one), one.output, one.output_size) == (["Succeeded"], None, 100)


@pytest.mark.parametrize("message", ["", "killed", text(MADE, final=False, reason=None)])
def test_after_the_first_attempt_every_output_has_a_state(message: str) -> None:
    """The list of a report with another number of outputs says nothing about these."""
    found = end(several(), message, 137)
    assert found.phase is Phase.QUEUED
    assert states(found) == ["Pending"] * 3


def test_what_is_complete_stays_known() -> None:
    killed = end(several(), text(MADE, MADE, PENDING, final=False, reason=None), 137)
    assert (killed.phase, killed.output_size) == (Phase.QUEUED, 200)
    later = merge(killed.outputs, (PENDING, FAILED, PENDING))
    assert [str(each.state) for each in later] == ["Succeeded", "Failed", "Pending"]
    other = FACTS._replace(sha256="b" * 64)
    again = merge(killed.outputs, (MADE._replace(output=other), PENDING, MADE))
    assert [each.sha256 for each in again] == ["b" * 64, "a" * 64, "a" * 64]
    waiting = replace(several(), status=killed)
    for phase in Phase:
        kept = Transition.to(snapshot(waiting), phase, "Reason", "message").status
        assert (kept.outputs, kept.output_size) == (killed.outputs, 200)


def test_a_failed_conversion_says_which_outputs_exist() -> None:
    reason = ExitReason.NO_AUDIO_STREAM
    found = end(several(), text(MADE, FAILED, PENDING, reason=reason), EXIT_CODES[reason])
    assert (found.phase, found.output_size) == (Phase.FAILED, 100)
    assert states(found) == ["Succeeded", "Failed", "Pending"]
    assert found.outputs
    assert (found.outputs[1].reason, found.outputs[1].message) == (reason, "there is no audio")


def variables(subject: Conversion) -> dict[str, str]:
    made = build_job(subject, 2, POLICY, False, "m")
    (container,) = made["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"]}


def test_the_container_gets_what_an_earlier_attempt_has_reported() -> None:
    first = variables(several())
    assert [*first] == [
        *("JOB_ID", "INPUT_FILE", "OUTPUTS", "CONVERSION_UID", "TIMEOUT_SECONDS", "STALL_SECONDS"),
        *("DAMAGED_INPUT", "MAX_DAMAGED_PERCENT", "MAX_MISSING_SECONDS", "MAX_OUTPUT_BYTES"),
        *("LOG_NAME", "LOG_RETENTION_SECONDS"),
    ]
    assert first["LOG_NAME"] == f"{several().key.uid}/2"
    assert json.loads(first["OUTPUTS"]) == [
        {"conversionType": kind, "outputFile": path, "options": {}, "optional": optional}
        for kind, path, optional in (
            ("extract_thumbnail", "/out/a.jpg", False),
            ("video_to_mp4", "/out/a.mp4", False),
            ("audio_to_mp3", "/out/a.mp3", True),
        )
    ]
    killed = end(several(), text(MADE, FAILED, PENDING, final=False, reason=None), 137)
    known = json.loads(variables(replace(several(), status=killed))["OUTPUTS"])
    assert [each.get("sha256") for each in known] == ["a" * 64, None, None]
    assert "DRY_RUN" not in first


def test_options_and_signs_arrive_as_they_are() -> None:
    listed = [VIDEO | {"outputFile": "$(A)/é.mp4", "options": {"resolution": 720}}]
    made = variables(several(*listed, overwrite=False))
    (item,) = json.loads(made["OUTPUTS"].replace("$$", "$"))
    assert (item["outputFile"], item["options"]) == ("/$(A)/é.mp4", {"resolution": 720})
    assert "$$(A)" in made["OUTPUTS"]
    assert made["OVERWRITE"] == "false"


def test_a_sweep_cleans_the_folders_of_all_outputs() -> None:
    made = build_sweep(several(), POLICY, "m")
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert [entry["name"] for entry in container["env"]] == ["JOB_ID", "OUTPUTS"]


def test_a_dry_run_of_one_image_has_the_size_that_the_conversion_would_have() -> None:
    image: dict[str, Any] = {"conversionType": "image_resize", "outputFile": "a.jpg"}
    (one,) = json.loads(variables(conversion(**image, dryRun=True))["OUTPUTS"])
    assert one["options"] == {"size": "800x600"}
    (whole,) = json.loads(variables(several(image, dryRun=True))["OUTPUTS"])
    assert whole["options"] == {}


@pytest.mark.parametrize("subject", [conversion(dryRun=True), several(VIDEO, dryRun=True)])
def test_a_dry_run_ends_with_its_plan(subject: Conversion) -> None:
    found = end(subject, text(plan=(PLAN,)))
    assert (found.phase, found.reason) == (Phase.SUCCEEDED, Reason.PLANNED)
    assert (found.outputs, found.output, found.output_size) == (None, None, None)
    assert found.plan
    (planned,) = found.plan
    assert (planned.action, planned.duration_seconds, planned.memory) == ("Copy", "5.280", 10**8)
    made = variables(subject)
    assert made["DRY_RUN"] == "true"
    # A converter that does not know dry runs finds no request, so it writes no file.
    assert not {"OUTPUT_FILE", "CONVERSION_TYPE"} & {*made}
    assert json.loads(made["OUTPUTS"])[0]["conversionType"] == "video_to_mp4"


@pytest.mark.parametrize("report", [text(MADE), text(plan=(PLAN, PLAN)), text(output=FACTS)])
def test_a_dry_run_without_its_plan_is_no_success(report: str) -> None:
    found = end(several(VIDEO, dryRun=True, maxRetries=0), report)
    assert (found.phase, found.reason) == (Phase.FAILED, Reason.REPORT_MISSING)
    assert (found.plan, found.outputs) == (None, None)


def test_a_dry_run_uses_no_files() -> None:
    dry = conversion(dryRun=True, maxRetries=0)
    assert dry.output_paths == ()
    assert is_light(dry)
    killed = step(dry, children(job(), ended(137, "OOMKilled")), 12)[1]
    assert not may_want_sweep(killed, children())
    assert may_want_sweep(replace(killed, dry_run=False), children())


def test_a_dry_run_has_the_callback_of_its_spec_only() -> None:
    assert callback_url(conversion(), "https://default.example") == "https://default.example"
    assert callback_url(conversion(dryRun=True), "https://default.example") == ""
    asked = conversion(dryRun=True, notify={"url": "https://own.example"})
    assert callback_url(asked, "https://default.example") == "https://own.example"


def test_several_outputs_are_light_if_all_are() -> None:
    assert is_light(several(THUMBNAIL, SOUND))
    assert not is_light(several(THUMBNAIL, VIDEO))
    assert not is_light(replace(conversion(), output_types=()))


def test_the_callback_has_the_outputs() -> None:
    done = several(), children(job(), succeeded(report=text(MADE, MADE, SKIPPED)))
    data = json.loads(build_message(step(*done, 12)[1]).body)["data"]
    assert not {"conversionType", "outputFile", "sha256", "plan", "dryRun"} & {*data}
    assert data["outputSize"] == 200
    assert data["outputs"][0] == {
        "conversionType": "extract_thumbnail",
        "outputFile": "out/a.jpg",
        "optional": False,
        "state": "Succeeded",
        "size": 100,
        "sha256": "a" * 64,
    }
    assert [each["state"] for each in data["outputs"]] == ["Succeeded", "Succeeded", "Skipped"]
    assert data["outputs"][2]["reason"] == "NoAudioStream"


def test_the_callback_of_a_dry_run_has_its_plan() -> None:
    done = conversion(dryRun=True), children(job(), succeeded(report=text(plan=(PLAN,))))
    data = json.loads(build_message(step(*done, 12)[1]).body)["data"]
    assert (data["dryRun"], data["reason"]) == (True, "Planned")
    assert data["plan"][0]["action"] == "Copy"
    assert "outputs" not in data


def test_after_the_end_the_states_are_kept() -> None:
    found = end(several(), text(MADE, MADE, SKIPPED))
    kept = status(keep_used(replace(several(), status=found)))
    assert [(each.state, each.reason) for each in kept.outputs or ()] == [
        ("Succeeded", None),
        ("Succeeded", None),
        ("Skipped", "NoAudioStream"),
    ]
    assert keep_used(replace(several(), status=found)).output_paths == (
        *("/out/a.jpg", "/out/a.mp4", "/out/a.mp3"),
    )


def printed(found: ConversionJobStatus) -> int:
    shown = json.dumps(found.to_json(), ensure_ascii=False)
    return len(re.sub("[<>&]", lambda sign: f"\\u00{ord(sign[0]):x}", shown).encode())


@given(st.sampled_from(["", "x", "<", "&", "é", "😀", "\u202e", "\n"]), st.booleans())
def test_eight_outputs_that_all_fail_fit_with_the_longest_texts(sign: str, facts: bool) -> None:
    """Paths are in the messages. What is known about complete files is never cut."""
    message = (sign or "x") * MAX_OUTPUT_MESSAGE_LENGTH
    name = "n" * 32
    made = OutputResult(
        OutputState.SUCCEEDED,
        2**63 - 1,
        Output("a" * 64, name, name, name, 2**63 - 1, 2**63 - 1, 1e12),
        warnings=((sign or "x") * 200,) * 4,
    )
    failed = OutputResult(
        OutputState.FAILED, reason=ExitReason.VERIFICATION_FAILED, message=message
    )
    listed = [VIDEO | {"outputFile": "f/" * 500 + f"{n}.mp4"} for n in range(MAX_OUTPUTS)]
    subject = several(*listed, maxRetries=0, notify={"url": "https://a.example"})
    report = Report(
        final=True,
        reason=ExitReason.VERIFICATION_FAILED,
        message=message * 8,
        logs="<" * 4000,
        outputs=(made if facts else failed,) * MAX_OUTPUTS,
    )
    code = EXIT_CODES[ExitReason.VERIFICATION_FAILED]
    # What the operator has merged from several reports can be larger than one report.
    stored = Transition.to(snapshot(subject), Phase.FAILED, "Reason", report.message).status
    stored = stored.model_copy(update={"outputs": merge(None, report.outputs), "logs": "<" * 2000})
    fitted = limit_status_size(stored)
    assert printed(fitted) <= STATUS_MAX_BYTES
    assert fitted.outputs
    for each in fitted.outputs:
        if facts:
            assert (each.sha256, each.size, each.video_codec) == ("a" * 64, 2**63 - 1, name)
        else:
            assert each.reason == ExitReason.VERIFICATION_FAILED
    found = end(subject, dump_report(report).decode(), code)
    assert printed(found) <= STATUS_MAX_BYTES
    assert len(found.outputs or ()) == MAX_OUTPUTS


@pytest.mark.parametrize("sign", ["<", "&", "x", "é", "😀", "\u202e", '"'])
def test_a_forged_report_never_exceeds_the_bound_of_a_status(sign: str) -> None:
    """Who may run a command in the pod can write the report. No fact of it is cut."""
    listed = [VIDEO | {"outputFile": f"{n}.mp4"} for n in range(MAX_OUTPUTS)]
    subject = several(*listed, maxRetries=0, notify={"url": "https://a.example"})
    name, most = sign * 40, 2**63 - 1
    forged = {
        "final": True, "reason": "Completed", "message": sign * 4000, "logs": sign * 4000,
        "outputs": [
            {
                "state": "Succeeded", "size": most, "sha256": "a" * 64, "container": name,
                "videoCodec": name, "audioCodec": name, "width": most, "height": most,
                "durationSeconds": 1e12, "warnings": [sign * 400] * 9, "message": sign * 400,
            }
        ] * MAX_OUTPUTS,
    }  # fmt: skip
    report = parse_report(json.dumps(forged))
    assert report
    transition = Transition.to(snapshot(subject), Phase.FAILED, "Reason", report.message)
    attempts = [
        Attempt(
            number=number + 1, reason="R" * 64, start_time=T0, completion_time=T0,
            job_uid="j" * 36, pod_uid="p" * 36,
        )
        for number in range(ATTEMPTS_KEPT)
    ]  # fmt: skip
    closed = []
    for attempt in attempts:
        one = transition.status.model_copy(update={"attempts": [attempt]})
        ended_one = replace(transition, status=one).with_attempt_closed("R" * 64, report.message)
        closed += ended_one.status.attempts or []
    stored = transition.status.model_copy(
        update={"attempts": closed, "outputs": merge(None, report.outputs), "logs": sign * 500}
    )
    fitted = limit_status_size(stored)
    assert printed(fitted) <= STATUS_MAX_BYTES
    assert len(fitted.outputs or ()) == MAX_OUTPUTS
    assert all(each.message for each in fitted.attempts or ())


def test_names_of_codecs_have_plain_characters() -> None:
    facts = {"state": "Succeeded", "size": 1, "sha256": "a" * 64}
    names = {"container": "mov,mp4", "videoCodec": "<b>&\u202e", "audioCodec": "pcm_s16le"}
    report = parse_report(json.dumps({"final": True, "outputs": [facts | names]}))
    assert report
    made = report.outputs[0].output
    assert made
    assert (made.container, made.video_codec, made.audio_codec) == ("mov,mp4", "?b???", "pcm_s16le")


def test_logs_are_cut_before_messages() -> None:
    subject = several(*[VIDEO | {"outputFile": f"{n}.mp4"} for n in range(MAX_OUTPUTS)])
    failed = FAILED._replace(message="m" * MAX_OUTPUT_MESSAGE_LENGTH)
    stored = Transition.to(snapshot(subject), Phase.FAILED, "Reason", "é" * 512).status
    stored = stored.model_copy(update={"outputs": merge(None, [failed] * 8), "logs": "<" * 2000})
    fitted = limit_status_size(stored)
    assert len(fitted.logs or "") < 2000
    assert fitted.outputs == stored.outputs


def test_a_spec_whose_outputs_an_older_crd_hides_is_left_alone() -> None:
    hidden = replace(conversion(), spec=None, spec_error=f"spec: Value error, {NO_OUTPUTS}")
    assert decide(snapshot(hidden)) == Plan()
    assert decide(snapshot(replace(hidden, suspend=True))) == Plan()
    known = replace(hidden, status=step(conversion(), NONE, position=1)[1].status, generation=2)
    assert decide(snapshot(known)) == Plan(), "not even the generation is written"
    cancelled = replace(hidden, cancel=True)
    end_of = decide(snapshot(cancelled)).status
    assert end_of
    assert end_of.phase is Phase.CANCELLED
