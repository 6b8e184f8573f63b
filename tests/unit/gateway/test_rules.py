"""The rules of the content pipeline: what they say, what is rejected, and how they change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from converter_gateway.rules import (
    BUILT_IN_FILE,
    DEFAULT_FILE,
    ContentRules,
    LiveRules,
    Recipe,
    RulesError,
    parse_rules,
)
from hack.generate import generated_files

TEXT = BUILT_IN_FILE.read_text(encoding="utf-8")
RULES = parse_rules(TEXT)


def made_of(
    content_type: str, rules: ContentRules = RULES
) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (
            str(recipe.conversion_type),
            recipe.suffix,
            recipe.options.model_dump(exclude_none=True) if recipe.options else {},
        )
        for job in rules.jobs(content_type)
        for recipe in job.outputs
    ]


VIDEO = [
    ("video_to_mp4", "_preview.mp4", {"quality": "medium", "resolution": "720p"}),
    ("extract_thumbnail", "_thumb.jpg", {}),
]
AUDIO = [("audio_to_mp3", "_preview.mp3", {"bitrate": "128k", "duration": 30})]
IMAGE = [("image_resize", "_thumb.jpg", {"size": "300x300", "quality": 80})]


@pytest.mark.parametrize(
    ("content_type", "conversions"),
    [
        ("video/mp4", VIDEO),
        ("video", VIDEO),
        ("Video/QuickTime", VIDEO),
        (' video/mp4 ; codecs="avc1, mp4a"', VIDEO),
        ("audio/mpeg", AUDIO),
        ("audio", AUDIO),
        ("image/png", IMAGE),
        ("image", IMAGE),
        ("application/pdf", []),
        ("text/video", []),
        ("videos", []),
        ("/video", []),
        ("", []),
    ],
)
def test_what_the_built_in_rules_make_of_a_content_type(
    content_type: str, conversions: list[Any]
) -> None:
    assert made_of(content_type) == conversions


@pytest.mark.parametrize("content_type", ["video", "audio", "image"])
def test_one_conversion_makes_all_outputs(content_type: str) -> None:
    (job,) = RULES.jobs(content_type)
    assert (job.single, job.profile) == (False, None)


def test_the_form_of_earlier_releases_makes_a_conversion_for_each_output() -> None:
    earlier = TEXT.replace("    outputs:", "    conversions:")
    earlier += "        priority: 3\n        ttlSecondsAfterFinished: 9\n"
    rules = parse_rules(earlier)
    for content_type, outputs in (("video", VIDEO), ("audio", AUDIO), ("image", IMAGE)):
        assert made_of(content_type, rules) == outputs
        assert all(job.single and len(job.outputs) == 1 for job in rules.jobs(content_type))
    (image,) = rules.jobs("image")
    assert (image.priority, image.ttl) == (3, 9)
    nothing = parse_rules("rules: [{name: none, contentTypes: [text], conversions: []}]")
    assert nothing.jobs("text") == ()


def rule(fields: str) -> str:
    return f"rules: [{{name: film, contentTypes: [video], {fields}}}]"


OUTPUT = "conversionType: audio_to_mp3, suffix: _a.mp3"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("priority: 1", "rule film: .*must have either outputs or profile"),
        ("profile: web, outputs: []", "rule film: .*must have either outputs or profile"),
        ("outputs: [], conversions: []", "rule film: .*must have either outputs or profile"),
        ("profile: Web", "rule film: profile: "),
        ("profile: web, queue: Big", "rule film: queue: "),
        (
            f"conversions: [{{{OUTPUT}}}], queue: big",
            "rule film: .*Write outputs instead of conversions",
        ),
        (f"conversions: [{{{OUTPUT}, optional: true}}]", "rule film: conversions.0.optional: "),
        (f"outputs: [{{{OUTPUT}, optional: true}}]", "at least one must not be optional"),
        (f"outputs: [{{{OUTPUT}, optional: 'yes'}}]", "rule film: outputs.0.optional: "),
        (
            f"outputs: [{{{OUTPUT}, priority: 1}}]",
            "rule film: outputs.0.priority: belongs to the rule, not to one of its outputs",
        ),
        (
            f"outputs: [{{{OUTPUT}, ttlSecondsAfterFinished: 1}}]",
            "rule film: outputs.0.ttlSecondsAfterFinished: belongs to the rule",
        ),
        (
            "outputs: ["
            + ", ".join(f"{{conversionType: audio_to_mp3, suffix: _{n}.mp3}}" for n in range(9))
            + "]",
            "rule film: outputs: .*at most 8",
        ),
    ],
)
def test_a_rule_has_one_form(fields: str, message: str) -> None:
    with pytest.raises(RulesError, match=message):
        parse_rules(rule(fields))


def test_a_rule_may_name_a_profile() -> None:
    (job,) = parse_rules(rule("profile: web, queue: big, priority: 4")).jobs("video/mp4")
    spec = job.spec("/a.mov")
    assert (spec.profile, spec.queue, spec.priority, spec.outputs) == ("web", "big", 4, None)


def test_the_first_rule_that_fits_decides() -> None:
    rules = ContentRules.model_validate(
        {
            "rules": [
                {"name": "vector", "contentTypes": ["image/svg+xml"], "outputs": []},
                *yaml.safe_load(TEXT)["rules"],
            ]
        }
    )
    assert made_of("image/svg+xml", rules) == []
    assert made_of("image/png", rules) == IMAGE


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("720p", "721p", "rule video: outputs.0.options.resolution: must be 240p, "),
        ("_thumb.jpg", "_thumb.mp3", "rule video: outputs.1: .*suffix: must end in .jpg"),
        ("_preview.mp3", ".mp3", "rule audio: outputs.0.suffix: "),
        ("_preview.mp3", "_/x.mp3", "rule audio: outputs.0.suffix: "),
        ("bitrate: 128k", "size: 1x1", "rule audio: outputs.0: .*options.size: belongs to"),
        (
            "duration: 30",
            "duration: 0",
            "rule audio: outputs.0.options.duration: must be seconds",
        ),
        ("duration: 30", "duration: '0'", "rule audio: outputs.0: .*options.duration: must be"),
        ("300x300", "300x30000", "rule image: outputs.0: .*options.size: must be"),
        ("quality: 80", "quality: low", "rule image: outputs.0: .*options.quality: must be"),
        ("quality: 80", "qualty: 80", "rule image: outputs.0.options.qualty: "),
        ("image_resize", "image_to_gif", "rule image: outputs.0.conversionType: "),
        ("contentTypes: [audio]", "contentTypes: []", "rule audio: contentTypes: "),
        ("contentTypes: [audio]", "contentTypes: [Audio]", "rule audio: contentTypes.0: "),
        ("name: audio", "name: video", "two have the same name"),
        ("name: audio", "title: audio", "rule 1: name: "),
        ("name: audio", "name: 3", "rule 3: name: "),
        ("_thumb.jpg", "_preview.mp4", "rule video: outputs.1"),
        ("WhenTaken\nrules", "Sometimes\nrules", "keepExtension: "),
        ("rules:\n", "rule:\n", "rules: "),
        ("rules:\n", "rules: [\n", "not YAML: "),
    ],
)
def test_a_wrong_file_is_told_with_the_rule_and_the_field(old: str, new: str, message: str) -> None:
    with pytest.raises(RulesError, match=f"^{message}|: {message}"):
        parse_rules(TEXT.replace(old, new))


@pytest.mark.parametrize("text", ["", "- a", "3", "rules: [3]"])
def test_what_is_no_rules_file_at_all(text: str) -> None:
    with pytest.raises(RulesError):
        parse_rules(text)


def test_two_outputs_of_a_source_never_have_one_name() -> None:
    twice = TEXT.replace("extract_thumbnail", "video_to_mp4").replace("_thumb.jpg", "_preview.mp4")
    with pytest.raises(RulesError, match=r"rule video: .*two have the same suffix"):
        parse_rules(twice)


def test_rules_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RULES.rules = ()  # type: ignore[misc]
    assert isinstance((RULES.rules[0].outputs or ())[0], Recipe)


def test_the_config_map_has_the_built_in_rules() -> None:
    text = generated_files()["deploy/gateway/content-rules.yaml"]
    assert yaml.safe_load(text)["data"] == {DEFAULT_FILE.name: TEXT}


def test_a_change_is_read_within_ten_seconds_and_a_slip_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, now = tmp_path / "rules.yaml", [0.0]
    file.write_text(TEXT)
    live = LiveRules(file, clock=lambda: now[0])
    assert made_of("audio", live.current()) == AUDIO
    file.write_text(TEXT.replace("duration: 30", "duration: 60"))
    now[0] = 9.0
    assert made_of("audio", live.current()) == AUDIO
    now[0] = 10.0
    changed = made_of("audio", live.current())
    assert changed[0][2]["duration"] == 60
    file.write_text("rules: 3")
    for _ in range(3):
        now[0] += 10
        assert made_of("audio", live.current()) == changed
    assert caplog.text.count("the previous rules stay in effect") == 1
    file.unlink()
    now[0] += 10
    assert made_of("audio", live.current()) == changed
    now[0] += 10
    file.write_text(TEXT)
    assert made_of("audio", live.current()) == AUDIO


def test_nothing_mounted_means_the_built_in_rules_and_a_missing_file_is_an_error(
    tmp_path: Path,
) -> None:
    assert not DEFAULT_FILE.parent.exists()
    assert LiveRules(DEFAULT_FILE).current() == RULES
    with pytest.raises(RulesError, match=r"nowhere\.yaml"):
        LiveRules(tmp_path / "nowhere.yaml")
