"""Strict models of YAML documents that people write. Messages say what to write instead.

YAML reads some texts as other types: ``true``, ``1.0`` and ``2026-01-01`` are no texts. Of two
equal keys it keeps the last one. Both are refused here.
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable
from typing import Annotated, Any, Final, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic.alias_generators import to_camel

_SHOWN_PROBLEMS: Final = 5
_ADVICE: Final = {
    "bool_type": "write true or false, without quotes",
    "dict_type": "write a mapping here: one line `key: value` for each entry",
    "int_type": "write a whole number, without quotes",
    "list_type": "write a list here, such as [a, b]",
    "missing": "this field is missing",
}
"""What to write, by the type of pydantic's error."""

Model = TypeVar("Model", bound="StrictModel")


class StrictModel(BaseModel):
    """A mapping with known keys in camelCase, as Kubernetes writes them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, alias_generator=to_camel)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: object) -> object:
        if not isinstance(value, dict):
            raise ValueError("write a mapping here: one line `key: value` for each field")
        known = [str(field.alias) for field in cls.model_fields.values()]
        for key in value:
            if key not in known:
                raise ValueError(cls.unknown_key(str(key), known))
        return value

    @classmethod
    def unknown_key(cls, key: str, known: list[str]) -> str:
        """The message about a key that the model does not have."""
        close = difflib.get_close_matches(key.lower(), [name.lower() for name in known], n=1)
        match = next((name for name in known if [name.lower()] == close), "")
        instead = f"write {match}" if match else f"the fields here are {', '.join(known)}"
        return f"there is no field {key!r}: {instead}"


def _text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f'write a text here, in quotes if YAML reads it otherwise: "{value}"')
    return value


Text = Annotated[str, BeforeValidator(_text)]
"""A text. Other types are refused, with the advice to use quotes."""


class _Loader(yaml.SafeLoader):
    """A loader without aliases, which can make a short document very large."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(None, None, "aliases are not allowed: repeat the text", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                problem = "a key must be a text, not a list or a mapping: write it in quotes"
                raise yaml.MarkedYAMLError(None, None, problem, key.start_mark)
            if key.value in keys:
                problem = f"the key {key.value!r} appears twice: keep one of them"
                raise yaml.MarkedYAMLError(None, None, problem, key.start_mark)
            keys.add(key.value)
        return super().construct_mapping(node, deep)


def parse_document(model: type[Model], text: str) -> Model:
    """Parse a YAML document. Raises ValueError, whose message says where the problem is."""
    try:
        loader = _Loader(text)
        try:
            content = loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ValueError(f"this is not valid YAML: {_yaml_problem(error)}") from None
    except RecursionError:
        raise ValueError("this is nested too deeply") from None
    except Exception:
        # PyYAML lets errors of its conversions out, for example a KeyError for `!!bool maybe`.
        raise ValueError(
            "this is not valid YAML: a value is not of the type that it has or looks like. "
            "Remove tags, such as !!int, and write texts in quotes"
        ) from None
    try:
        return model.model_validate({} if content is None else content)
    except ValidationError as error:
        problems = [
            _problem(each["loc"], _ADVICE.get(each["type"], each["msg"])) for each in error.errors()
        ]
        raise ValueError("; ".join(problems[:_SHOWN_PROBLEMS])) from None


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}: {problem}" if mark else str(problem)


def _problem(where: Iterable[str | int], message: str) -> str:
    path = ""
    for part in where:
        if part == "[key]":
            continue
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else str(part)
    text = message.removeprefix("Value error, ")
    return f"{path}: {text}" if path else text
