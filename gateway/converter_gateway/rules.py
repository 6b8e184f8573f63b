"""Reads, validates and reloads the rules of the content pipeline, a YAML file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator

from conversion_operator.api.spec import ApiModel, ConversionJobSpec, ConversionOptions
from converter_gateway.errors import ApiError
from converter_gateway.requests import check_spec
from converter_gateway.settings import GatewaySettings
from media_converter.contract import ConversionType
from media_converter.options import GRAMMAR

logger = logging.getLogger(__name__)

BUILT_IN_FILE: Final = Path(__file__).with_name("rules.yaml")
DEFAULT_FILE: Final[Path] = GatewaySettings.model_fields["gateway_content_rules"].default
_RELOAD_SECONDS: Final = 10.0
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


class Recipe(ApiModel):
    """One conversion of a rule."""

    conversion_type: ConversionType
    suffix: Annotated[str, StringConstraints(pattern=_SUFFIX)]
    options: ConversionOptions | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] | None = None
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31536000)] | None = None

    def spec(self, source: str, output: str) -> ConversionJobSpec:
        """The spec for one file. Both paths are from the root of the volume."""
        return ConversionJobSpec(
            conversion_type=self.conversion_type,
            input_file=source,
            output_file=output,
            options=self.options,
            priority=self.priority,
            ttl_seconds_after_finished=self.ttl_seconds_after_finished,
        )

    @model_validator(mode="after")
    def _check_spec(self) -> Recipe:
        try:
            check_spec(self.spec("source", "source" + self.suffix))
        except ApiError as error:
            raise ValueError(error.message.replace("output_file:", "suffix:")) from None
        return self


class ContentRule(ApiModel):
    """The conversions that some content types need."""

    name: Annotated[str, StringConstraints(pattern=_NAME)]
    content_types: tuple[Annotated[str, StringConstraints(pattern=_CONTENT_TYPE)], ...] = Field(
        min_length=1
    )
    conversions: tuple[Recipe, ...] = Field(max_length=8)

    @model_validator(mode="after")
    def _check_suffixes(self) -> ContentRule:
        if len({recipe.suffix for recipe in self.conversions}) < len(self.conversions):
            raise ValueError("conversions: two have the same suffix")
        return self


class ContentRules(ApiModel):
    """The rules file. The first rule that matches a content type decides."""

    keep_extension: KeepExtension = KeepExtension.WHEN_TAKEN
    rules: tuple[ContentRule, ...]

    @model_validator(mode="after")
    def _check_names(self) -> ContentRules:
        if len({rule.name for rule in self.rules}) < len(self.rules):
            raise ValueError("rules: two have the same name")
        return self

    def recipes(self, content_type: str) -> tuple[Recipe, ...]:
        """The conversions for ``video``, ``video/mp4`` or ``video/mp4; codecs=x``, for example."""
        media = content_type.partition(";")[0].strip().lower()
        fitting = {media, media.partition("/")[0]}
        for rule in self.rules:
            if fitting.intersection(rule.content_types):
                return rule.conversions
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
