"""Decodes built-in objects: drops unknown fields, and rejects wrong types.

The types are the official client's models, which are generated from the API server's OpenAPI
document.
"""

from __future__ import annotations

import re
import types
import typing
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

from kubernetes.aio.client import models
from pydantic import BaseModel

from tests.component.support import errors, podspec
from tests.component.support.clock import normalize
from tests.component.support.errors import Obj
from tests.component.support.kinds import Kind

_MICRO_TIMES: Final = frozenset({"renewTime", "acquireTime", "eventTime", "lastObservedTime"})
_MICRO: Final = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)$")
_TIME: Final = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")
_QUANTITY: Final = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
_QUANTITIES: Final = frozenset({"limits", "requests", "capacity", "allocatable", "hard"})


@dataclass(frozen=True, slots=True)
class _Shape:
    """The type of a field: leaf types, one model, or a list or map of another shape."""

    leaves: tuple[type, ...] = ()
    model: type[BaseModel] | None = None
    items: _Shape | None = None
    values: _Shape | None = None


def _shape(annotation: Any) -> _Shape:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _shape(args[0])
    if origin in (typing.Union, types.UnionType):
        shapes = [_shape(arg) for arg in args if arg is not type(None)]
        if len(shapes) == 1:
            return shapes[0]
        return _Shape(leaves=tuple(leaf for shape in shapes for leaf in shape.leaves))
    if origin is list:
        return _Shape(items=_shape(args[0]))
    if origin is dict:
        return _Shape(values=_shape(args[1]))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _Shape(model=annotation)
    return _Shape(leaves=(annotation,) if isinstance(annotation, type) else (object,))


@cache
def _fields(model: type[BaseModel]) -> dict[str, _Shape]:
    hints = typing.get_type_hints(model, include_extras=True)
    return {
        info.serialization_alias or name: _shape(hints[name])
        for name, info in model.model_fields.items()
    }


def _wrong_type(path: str, value: object, expected: str) -> errors.StatusError:
    return errors.bad_request(
        f"json: cannot unmarshal {type(value).__name__} into Go struct field {path} of type "
        f"{expected}"
    )


def _time(path: str, value: str) -> str:
    micro = path.rsplit(".", 1)[-1] in _MICRO_TIMES
    if not (_MICRO if micro else _TIME).match(value):
        layout = "2006-01-02T15:04:05.000000Z07:00" if micro else "2006-01-02T15:04:05Z07:00"
        raise errors.bad_request(f'{path}: parsing time "{value}" as "{layout}": cannot parse')
    return normalize(value, micro=micro)


def _leaf(leaves: tuple[type, ...], value: Any, path: str) -> Any:
    if datetime in leaves:
        if not isinstance(value, str):
            raise _wrong_type(path, value, "time")
        return _time(path, value)
    if object in leaves:
        return value
    accepted: tuple[type, ...] = (*leaves, int) if float in leaves else leaves
    if isinstance(value, bool) != (bool in leaves) or not isinstance(value, accepted):
        raise _wrong_type(path, value, "/".join(leaf.__name__ for leaf in leaves))
    return value


def _quantity(value: Any) -> str:
    if podspec.parse_quantity(str(value)) is None:
        raise errors.bad_request(f"quantities must match the regular expression '{_QUANTITY}'")
    return str(value)


def _decode(shape: _Shape, value: Any, path: str, dropped: list[str]) -> Any:
    if shape.model is not None:
        return _decode_model(shape.model, value, path, dropped)
    if shape.items is not None:
        if not isinstance(value, list):
            raise _wrong_type(path, value, "array")
        items = enumerate(value)
        return [_decode(shape.items, item, f"{path}[{i}]", dropped) for i, item in items]
    if shape.values is not None:
        if not isinstance(value, dict):
            raise _wrong_type(path, value, "map")
        if path.rsplit(".", 1)[-1] in _QUANTITIES:
            value = {key: _quantity(item) for key, item in value.items()}
        inner = shape.values
        return {k: _decode(inner, item, f"{path}.{k}", dropped) for k, item in value.items()}
    return _leaf(shape.leaves, value, path)


def _decode_model(model: type[BaseModel], value: Any, path: str, dropped: list[str]) -> Obj:
    if not isinstance(value, dict):
        raise _wrong_type(path, value, model.__name__)
    fields = _fields(model)
    paths = {key: f"{path}.{key}" if path else key for key in value}
    dropped += [paths[key] for key in value if key not in fields]
    return {
        key: _decode(fields[key], item, paths[key], dropped)
        for key, item in value.items()
        if item is not None and key in fields
    }


def decode(kind: Kind, obj: Obj) -> tuple[Obj, list[str]]:
    """A copy of a built-in object without nulls, and the paths of the unknown fields.

    Raises 400 if a field does not fit its type.
    """
    if kind.model is None:
        raise TypeError(f"{kind} has no built-in type")
    dropped: list[str] = []
    return _decode_model(getattr(models, kind.model), obj, "", dropped), dropped
