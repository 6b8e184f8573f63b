"""The base of all values that the API server stores."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


def _join_lines(schema: dict[str, Any]) -> None:
    """Remove the line breaks of the fields' docstrings from the descriptions."""
    for field in schema.get("properties", {}).values():
        if "description" in field:
            field["description"] = " ".join(field["description"].split())


class ApiModel(BaseModel):
    """A frozen value as the API server stores it: camelCase names, unknown fields are errors."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        json_schema_extra=_join_lines,
    )

    def to_json(self) -> dict[str, object]:
        """The value as the API server stores it: camelCase names, without unset fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
