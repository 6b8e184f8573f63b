"""Judges settings one by one: a mistake in one of them must not undo the others.

An environment variable overrides the ConfigMap, and the ConfigMap overrides the default. If the
text of a setting is invalid, the value in force stays: the last valid text, or the default.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from conversion_operator.core.text import clean, head

_TEXT_MAX_BYTES: Final = 80
_COMPARED_MAX: Final = 20
"""How many unknown names are compared with the known ones. A comparison takes about 0.5 ms."""
_PROBLEM_MAX_BYTES: Final = 900
"""An Event has room for 1024 bytes."""

_URL: Final = re.compile(r"://[^\s'\"]+")
"""What follows the scheme of a URL. It may contain a password or a token."""

_ALLOWED: Final = re.compile(r"Allowed: [^.]+")


class SettingsModel(BaseModel):
    """Base class of settings: one field per setting. Its texts have its name in capitals.

    ``environment_only`` are the names of the settings that a ConfigMap does not have, because the
    program needs them before it can read one.

    No message shows the value of a field with ``repr=False``.

    ``no_default`` are the fields whose invalid text stays if there is no last valid one, so that it
    is not taken for an absent one. What uses such a field checks it.

    ``protective`` are the fields whose default may be dangerous if their text is invalid at a
    start. ``unprotected`` has the values that apply until they are known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    environment_only: ClassVar[frozenset[str]] = frozenset()
    no_default: ClassVar[frozenset[str]] = frozenset()
    protective: ClassVar[frozenset[str]] = frozenset()
    unprotected: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def loggable(self) -> dict[str, Any]:
        """The values that a log may show. URLs have only their scheme."""
        values = {name: getattr(self, name) for name in _shown_fields(type(self))}
        return {n: _hide_urls(v) if isinstance(v, str) else v for n, v in values.items()}


def _shown_fields(model: type[SettingsModel]) -> list[str]:
    return [name for name, field in model.model_fields.items() if field.repr]


S = TypeVar("S", bound=SettingsModel)


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """An invalid or unknown setting. ``text`` says what is wrong and what applies instead."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Judgement(Generic[S]):
    """The settings in force, the valid texts that they come from, and what is wrong.

    ``unsure`` are the protective fields that have been invalid since the start.
    """

    settings: S
    texts: Mapping[str, str]
    problems: tuple[SettingProblem, ...] = ()
    unsure: frozenset[str] = frozenset()


NO_TEXTS: Final[Mapping[str, str]] = MappingProxyType({})


def judge(
    model: type[S],
    environment: Mapping[str, str],
    config: Mapping[str, str] = NO_TEXTS,
    in_force: Mapping[str, str] = NO_TEXTS,
    unsure: frozenset[str] = frozenset(),
) -> Judgement[S]:
    """Judge each setting alone. ``in_force`` are the ``texts`` of the last judgement.

    ``unsure`` are the ``unsure`` fields of the last judgement, at a start all protective ones.
    """
    texts: dict[str, str] = {}
    errors: dict[str, str] = {}
    kept: dict[str, str] = {}
    for field in model.model_fields:
        name = field.upper()
        given = environment.get(name)
        if given is None and name not in model.environment_only:
            given = config.get(name)
        if given is None:
            continue
        given = given.strip()  # a file of a ConfigMap often ends with a line end
        if error := parse_error(model, field, given):
            shown = field in _shown_fields(model)
            errors[field] = f"{_quoted(given) if shown else 'invalid'}{error}"
        if not error:
            texts[field] = given
        elif field in in_force:
            texts[field] = in_force[field]
        elif field in model.no_default:
            kept[field] = given
    unsure = unsure & errors.keys() - texts.keys()
    update = kept | dict(model.unprotected if unsure else {})
    settings = model.model_validate(texts).model_copy(update=update)
    problems = [
        _problem(
            field.upper(),
            f"{error}. {_consequence(settings, field, kept=field in kept, unsure=field in unsure)}",
        )
        for field, error in errors.items()
    ]
    unknown = [
        name
        for name in sorted(config)
        if name.lower() not in model.model_fields
        or name != name.upper()
        or name in model.environment_only
    ]
    problems += [
        _problem(name, _unknown(model, name, compare=number < _COMPARED_MAX))
        for number, name in enumerate(unknown)
    ]
    return Judgement(settings, MappingProxyType(texts), tuple(problems), unsure)


def parse_error(model: type[SettingsModel], field: str, text: str) -> str:
    """What is wrong with the text of one setting, or what is allowed. "" if it is valid."""
    try:
        model.model_validate({field: text})
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
        raised = details.get("ctx", {}).get("error")
        allowed = _ALLOWED.search(" ".join((model.model_fields[field].description or "").split()))
        if allowed and not raised:
            return f". {allowed[0]}"
        return f": {str(raised or details['msg']).removesuffix('.')}"
    except Exception as error:
        # A setting never ends the program, even if a validator has a mistake.
        return f": it cannot be read ({type(error).__name__})"
    return ""


def _consequence(settings: SettingsModel, field: str, *, kept: bool, unsure: bool) -> str:
    if unsure:
        return "No conversion starts until you correct it"
    return "No valid text is known" if kept else _value_in_force(settings, field)


def _value_in_force(settings: SettingsModel, field: str) -> str:
    if field not in _shown_fields(type(settings)):
        return "The last valid value, or the default, is in force"
    return f"The value in force is {_quoted(as_text(getattr(settings, field)))}"


def _unknown(model: type[SettingsModel], name: str, *, compare: bool) -> str:
    if name in model.environment_only:
        return "is read from the environment only. Set it in the Deployment"
    known = [field.upper() for field in model.model_fields]
    close = difflib.get_close_matches(name.upper(), known, n=1) if compare else []
    cure = f"Did you mean {close[0]}?" if close else "Remove it: it has no effect"
    return f"is not a setting of this release. {cure}"


def _problem(name: str, text: str) -> SettingProblem:
    name = head(clean(name), _TEXT_MAX_BYTES)
    verb = "" if text.startswith("is ") else "is "
    return SettingProblem(name, head(clean(_hide_urls(f"{name} {verb}{text}")), _PROBLEM_MAX_BYTES))


def _hide_urls(text: str) -> str:
    """The text without what follows the scheme of a URL."""
    return _URL.sub("://…", text)


def _quoted(text: str) -> str:
    return repr(head(text, _TEXT_MAX_BYTES))


def as_text(value: Any) -> str:
    """The text of a value, as a ConfigMap has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def render_table(model: type[SettingsModel]) -> str:
    """A Markdown table with one row per setting."""
    rows = "\n".join(_row(name.upper(), field) for name, field in model.model_fields.items())
    return f"| Setting | Default | Meaning |\n|---|---|---|\n{rows}\n"


def _row(name: str, field: FieldInfo) -> str:
    default = f"`{as_text(field.default)}`" if field.default != "" else "empty"
    return f"| `{name}` | {default} | {' '.join((field.description or '').split())} |"
