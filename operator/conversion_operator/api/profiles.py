"""A ConversionProfile: outputs for any input. ``kubectl explain`` prints the docstrings.

A ConversionProfile is in the namespace of the ConversionJobs that name it. Whoever may create
ConversionJobs there may say as much in their own specs, so a profile gives nobody more rights.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints

from conversion_operator.api.api_model import ApiModel
from conversion_operator.api.conversion_options import ConversionOptions
from conversion_operator.api.spec import (
    MAX_TIMEOUT_SECONDS,
    PATH_PATTERN,
    QUEUE_PATTERN,
    ConversionJobSpec,
    Resources,
    require_allowed,
)
from conversion_operator.api.status import ConversionJobStatus, ResolvedProfile
from media_converter.contract import MAX_OUTPUTS, ConversionType

TEMPLATE_PATTERN: Final = r"^([^{}]|\{(dir|name|ext)\})*$"
"""A template has no other braces than those of its three variables."""

DEFAULTS: Final = (
    "priority",
    "queue",
    "timeout_seconds",
    "ttl_seconds_after_finished",
    "resources",
)
"""The fields of a profile that apply if the ConversionJob does not have them."""

Template = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024, pattern=PATH_PATTERN),
    StringConstraints(pattern=TEMPLATE_PATTERN),
    AfterValidator(require_allowed),
]


class OutputTemplate(ApiModel):
    """One output."""

    conversion_type: ConversionType
    """Type of the conversion, as spec.conversionType of a ConversionJob."""
    output_file: Template
    """Template of the path of the output file, relative to the root of the shared volume. {dir} is
    the folder of the input, {name} its name without the extension, and {ext} its extension without
    the dot. Other braces are not allowed. The extension must fit conversionType.
    """
    options: ConversionOptions | None = None
    """Options of the conversion. Each applies only to some conversion types."""
    optional: Annotated[bool, Field(strict=True)] | None = None
    """Whether the conversion succeeds without this output. If true, a failure of this output is
    written to status.outputs of the ConversionJob, and is not retried. Default: false.
    """


class ConversionProfileSpec(ApiModel):
    """What to make of an input. A ConversionJob uses it with spec.profile. The operator reads it
    once for each ConversionJob, so a change has no effect on ConversionJobs that exist.
    """

    outputs: Annotated[list[OutputTemplate], Field(min_length=1, max_length=MAX_OUTPUTS)]
    """The outputs that one pod makes from the input. At least one must not be optional. Allowed: 1
    to 8.
    """
    priority: Annotated[int, Field(ge=-100, le=100)] | None = None
    """Priority in the queue, unless the ConversionJob has one. Allowed: -100 to 100, but at most
    the setting CONVERTER_MAX_PRIORITY. Default: 0.
    """
    queue: Annotated[str, StringConstraints(max_length=63, pattern=QUEUE_PATTERN)] | None = None
    """Name of the ConversionQueue, unless the ConversionJob has one. Default: default."""
    timeout_seconds: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_SECONDS)] | None = None
    """Longest time that an attempt may run, in seconds, unless the ConversionJob has one. Allowed:
    1 to 604800, but at most the setting CONVERTER_MAX_TIMEOUT_SECONDS. Default: the setting
    CONVERTER_TIMEOUT_SECONDS.
    """
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31536000)] | None = None
    """How long to keep the ConversionJob after the conversion ends, in seconds, unless the
    ConversionJob says so. Allowed: 0 to 31536000. Default: the setting CONVERTER_TTL_SECONDS.
    """
    resources: Resources | None = None
    """Requests and limits of the converter container, unless the ConversionJob has resources. The
    two are not mixed.
    """


def split_extension(name: str) -> tuple[str, str]:
    """Split ``my.a.mov`` into ``my.a`` and ``mov``. ``.a`` and ``a.`` have no extension."""
    stem, _, extension = name.rpartition(".")
    return (stem, extension) if extension and stem.strip(".") else (name, "")


def effective_spec(
    spec: ConversionJobSpec, status: ConversionJobStatus | None
) -> ConversionJobSpec:
    """The spec with what status.resolved says. A field of the spec itself goes first.

    The same spec if it names no profile, or if the profile is not resolved.
    """
    resolved = status.resolved if status else None
    if spec.profile is None or resolved is None:
        return spec
    return spec_with(spec, resolved)


def spec_with(spec: ConversionJobSpec, resolved: ResolvedProfile) -> ConversionJobSpec:
    """The spec with the outputs of a profile, and its defaults where the spec has none."""
    defaults = {name: getattr(resolved, name) for name in DEFAULTS if getattr(spec, name) is None}
    return spec.model_copy(update={"outputs": resolved.outputs, **defaults})
