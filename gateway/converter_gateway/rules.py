"""Reads, validates and reloads the rules of the content pipeline, a YAML file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator

from conversion_operator.api import spec
from conversion_operator.api.api_model import ApiModel
from conversion_operator.api.conversion_options import ConversionOptions
from conversion_operator.api.spec import ConversionJobSpec, OutputSpec
from converter_gateway.errors import ApiError
from converter_gateway.requests import check_options, check_output
from converter_gateway.settings import GatewaySettings
from media_converter.contract import MAX_OUTPUTS, ConversionType
from media_converter.options import GRAMMAR, output_files

logger = logging.getLogger(__name__)

BUILT_IN_FILE: Final = Path(__file__).with_name("rules.yaml")
DEFAULT_FILE: Final[Path] = GatewaySettings.model_fields["gateway_content_rules"].default
_RELOAD_SECONDS: Final = 10.0
_OF_RULE: Final = ("priority", "queue", "ttlSecondsAfterFinished")
_NAME: Final = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
# A suffix must not begin with a dot: it could equal the extension of a source and a suffix.
_SUFFIX: Final = r"^[_-][A-Za-z0-9._-]{1,60}$"
_CONTENT_TYPE: Final = r"^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}(/[a-z0-9][a-z0-9!#$&^_.+-]{0,126})?$"


class RulesError(ValueError):
    """The rules file is not valid. ``str()`` names the rule and the field."""


class KeepExtension(StrEnum):
    """When the name of an output contains the extension of its source."""

    WHEN_TAKEN = "WhenTaken"
    ALWAYS = "Always"


Priority = Annotated[int, Field(ge=-100, le=100)]
TimeToLive = Annotated[int, Field(ge=0, le=31536000)]
Name = Annotated[str, StringConstraints(max_length=63, pattern=spec.QUEUE_PATTERN)]


class Recipe(ApiModel):
    """One output of a rule."""

    conversion_type: ConversionType
    suffix: Annotated[str, StringConstraints(pattern=_SUFFIX)]
    options: ConversionOptions | None = None
    optional: Annotated[bool, Field(strict=True)] | None = None

    def output(self, path: str) -> OutputSpec:
        """The output of one file. ``path`` is from the root of the volume."""
        return OutputSpec(
            conversion_type=self.conversion_type,
            output_file=path,
            options=self.options,
            optional=self.optional,
        )

    def files(self) -> tuple[str, ...]:
        """The ends of the names of all files of the output."""
        return output_files(self.conversion_type, "source" + self.suffix)

    @model_validator(mode="after")
    def _check_spec(self) -> Recipe:
        output = self.output("source" + self.suffix)
        try:
            check_output(output)
            check_options(output)
        except ApiError as error:
            raise ValueError(error.message.replace("output_file:", "suffix:")) from None
        return self


class OneConversion(Recipe):
    """One output of a rule that has a ConversionJob of its own."""

    optional: None = None
    priority: Priority | None = None
    ttl_seconds_after_finished: TimeToLive | None = None


@dataclass(frozen=True, slots=True)
class JobRecipe:
    """One ConversionJob that a content needs: its outputs, or a profile that lists them.

    ``single`` means that it has the form of a spec with one output.
    """

    outputs: tuple[Recipe, ...] = ()
    profile: str | None = None
    single: bool = False
    priority: int | None = None
    queue: str | None = None
    ttl: int | None = None

    def spec(self, source: str, outputs: Sequence[OutputSpec] = ()) -> ConversionJobSpec:
        """The spec for one file. ``outputs`` are some of those of the recipe, with their paths."""
        common: dict[str, Any] = {
            "input_file": source,
            "priority": self.priority,
            "queue": self.queue,
            "ttl_seconds_after_finished": self.ttl,
        }
        if self.profile is not None:
            return ConversionJobSpec(profile=self.profile, **common)
        if not self.single:
            return ConversionJobSpec(outputs=list(outputs), **common)
        (output,) = outputs
        return ConversionJobSpec(
            conversion_type=output.conversion_type,
            output_file=output.output_file,
            options=output.options,
            **common,
        )


class ContentRule(ApiModel):
    """What some content types need: outputs, or a profile, or conversions of one output each."""

    name: Annotated[str, StringConstraints(pattern=_NAME)]
    content_types: tuple[Annotated[str, StringConstraints(pattern=_CONTENT_TYPE)], ...] = Field(
        min_length=1
    )
    outputs: Annotated[tuple[Recipe, ...], Field(max_length=MAX_OUTPUTS)] | None = None
    profile: Name | None = None
    conversions: Annotated[tuple[OneConversion, ...], Field(max_length=8)] | None = None
    priority: Priority | None = None
    queue: Name | None = None
    ttl_seconds_after_finished: TimeToLive | None = None

    @model_validator(mode="after")
    def _check_form(self) -> ContentRule:
        forms = (self.outputs, self.profile, self.conversions)
        if sum(form is not None for form in forms) != 1:
            raise ValueError("must have either outputs or profile")
        common = (self.priority, self.queue, self.ttl_seconds_after_finished)
        if self.conversions is not None and any(value is not None for value in common):
            raise ValueError(
                "conversions: each has its own priority and ttlSecondsAfterFinished. Write "
                "outputs instead of conversions to set them, or queue, for the whole rule"
            )
        if self.outputs and all(recipe.optional for recipe in self.outputs):
            raise ValueError("outputs: at least one must not be optional")
        return self

    @model_validator(mode="after")
    def _check_suffixes(self) -> ContentRule:
        for name, recipes in (("outputs", self.outputs), ("conversions", self.conversions)):
            if len({recipe.suffix for recipe in recipes or ()}) < len(recipes or ()):
                raise ValueError(f"{name}: two have the same suffix")
            files = [file for recipe in recipes or () for file in recipe.files()]
            if len(set(files)) < len(files):
                raise ValueError(
                    f"{name}: two {ConversionType.VIDEO_STORYBOARD} have one .vtt file"
                )
        return self

    def jobs(self) -> tuple[JobRecipe, ...]:
        """The ConversionJobs that the rule needs."""
        if self.conversions is not None:
            return tuple(
                JobRecipe(
                    (each,),
                    single=True,
                    priority=each.priority,
                    ttl=each.ttl_seconds_after_finished,
                )
                for each in self.conversions
            )
        if not self.outputs and self.profile is None:
            return ()
        return (
            JobRecipe(
                self.outputs or (),
                self.profile,
                priority=self.priority,
                queue=self.queue,
                ttl=self.ttl_seconds_after_finished,
            ),
        )


class ContentRules(ApiModel):
    """The rules file. The first rule that matches a content type decides."""

    keep_extension: KeepExtension = KeepExtension.WHEN_TAKEN
    rules: tuple[ContentRule, ...]

    @model_validator(mode="after")
    def _check_names(self) -> ContentRules:
        if len({rule.name for rule in self.rules}) < len(self.rules):
            raise ValueError("rules: two have the same name")
        return self

    def jobs(self, content_type: str) -> tuple[JobRecipe, ...]:
        """The ConversionJobs for ``video``, ``video/mp4`` or ``video/mp4; codecs=x``, say."""
        media = content_type.partition(";")[0].strip().lower()
        fitting = {media, media.partition("/")[0]}
        for rule in self.rules:
            if fitting.intersection(rule.content_types):
                return rule.jobs()
        return ()


def parse_rules(text: str) -> ContentRules:
    """Parse a rules file. Raises RulesError."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RulesError(f"not YAML: {' '.join(str(error).split())}") from error
    try:
        return ContentRules.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        location = first["loc"]
        # For an option with two types, pydantic appends the type to the location.
        path = location[: location.index("options") + 2] if "options" in location else location
        problem = _must_be(str(path[-1])) if path != location else ""
        if "outputs" in path and path[-1] in _OF_RULE:
            problem = "belongs to the rule, not to one of its outputs"
        raise RulesError(f"{_where(path, data)}: {problem or first['msg']}") from error


def _must_be(option: str) -> str:
    """What an option of any conversion type must be, in words."""
    return "must be " + " or ".join(row.kind.must_be for row in GRAMMAR if row.name == option)


def _where(location: tuple[int | str, ...], data: Any) -> str:
    """Format a location, for example ``rule video: conversions.0.options.resolution``."""
    parts = [str(part) for part in location]
    if parts[:1] != ["rules"] or len(parts) < 2:
        return ".".join(parts) or "the file"
    rule = data["rules"][int(parts[1])]
    name = rule.get("name") if isinstance(rule, dict) else None
    return ": ".join(filter(None, (f"rule {name or parts[1]}", ".".join(parts[2:]))))


def _read(file: Path) -> str:
    # Without the ConfigMap, the folder does not exist. If only the file is missing, the
    # ConfigMap has no key of this name: report this mistake.
    if file == DEFAULT_FILE and not file.parent.is_dir():
        file = BUILT_IN_FILE
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RulesError(str(error)) from error


class LiveRules:
    """Keeps the last valid rules, because a mistake in the ConfigMap must not stop a running API.

    Uses the built-in rules if nothing is mounted at the default path.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises RulesError."""
        self._file, self._clock = file, clock
        self._text = _read(file)
        self._current = parse_rules(self._text)
        self._checked = clock()

    def current(self) -> ContentRules:
        """The current rules. Reads the file again if the last read was at least 10 s ago."""
        if self._clock() - self._checked >= _RELOAD_SECONDS:
            self._checked = self._clock()
            self._reload()
        return self._current

    def _reload(self) -> None:
        try:
            text = _read(self._file)
            if text == self._text:
                return
            self._text = text
            self._current = parse_rules(text)
        except RulesError as error:
            logger.error("%s: %s; the previous rules stay in effect", self._file, error)


def render_rules() -> str:
    """deploy/gateway/content-rules.yaml: a ConfigMap with the built-in rules."""
    lines = BUILT_IN_FILE.read_text(encoding="utf-8").splitlines()
    return (
        "# Generated from gateway/converter_gateway/rules.yaml by `make crds`. To change the\n"
        "# rules, patch this ConfigMap in your overlay.\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n"
        "  name: my-network-converter-content-rules\n"
        "data:\n  rules.yaml: |\n" + "".join(f"    {line}".rstrip() + "\n" for line in lines)
    )
