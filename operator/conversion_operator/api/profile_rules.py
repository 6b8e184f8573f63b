"""CEL rules of ConversionProfiles. Most are those of the outputs of a ConversionJob."""

from __future__ import annotations

from typing import Final

from conversion_operator.api.cel import ValidationRule
from conversion_operator.api.path_rules import outputs_rules
from conversion_operator.api.profiles import TEMPLATE_PATTERN
from conversion_operator.api.spec import PROFILE_PATTERN, QUEUE_PATTERN
from conversion_operator.api.validation import output_rules, resource_rules

_ANY_EXTENSION: Final = "self.outputFile.endsWith('{ext}')"
"""The extension of such an output is that of the input. It is checked with the input."""


def template_rules() -> list[ValidationRule]:
    """Rules on each item of ``spec.outputs``."""
    pattern = TEMPLATE_PATTERN.replace("\\", "\\\\")
    variables = ValidationRule(
        f"self.matches('{pattern}')",
        "outputFile may contain braces only in {dir}, {name} and {ext}",
        at=("outputFile",),
    )
    return [*output_rules(_ANY_EXTENSION), variables]


def profile_rules() -> list[ValidationRule]:
    """Rules on ``spec``."""
    queue = ValidationRule(
        f"self.matches('{QUEUE_PATTERN}')",
        "queue must be the name of a ConversionQueue: at most 63 lower case letters, digits and -",
        at=("queue",),
    )
    return [*outputs_rules(), queue, *resource_rules()]


def profile_root_rules() -> list[ValidationRule]:
    """Rules on the whole object: spec.profile of a ConversionJob can name it."""
    return [
        ValidationRule(
            f"self.metadata.name.matches('{PROFILE_PATTERN}')",
            "the name must have at most 63 lower case letters, digits and -",
        )
    ]
