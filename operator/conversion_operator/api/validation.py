"""CEL rules of the CRD: what the API server refuses at ``kubectl apply``, and its messages.

Each rule on an optional field starts with has(). The immutability rules are on the spec as a
whole, because the API server skips a rule on an optional field when the field is added or removed.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class ValidationRule(NamedTuple):
    """One x-kubernetes-validations entry. ``field`` is the path that the error names."""

    rule: str
    message: str
    field: str | None = None

    def to_json(self) -> dict[str, str]:
        """The entry in the CRD."""
        entry = {"rule": self.rule, "message": self.message}
        return entry | ({"fieldPath": self.field} if self.field else {})


MAX_SIDE: Final = 16384

OPTION_TYPES: Final[dict[str, tuple[str, ...]]] = {
    "quality": ("video_to_mp4", "image_resize", "extract_thumbnail"),
    "resolution": ("video_to_mp4",),
    "bitrate": ("audio_to_mp3",),
    "start": ("video_to_mp4", "audio_to_mp3"),
    "duration": ("video_to_mp4", "audio_to_mp3"),
    "size": ("image_resize", "extract_thumbnail"),
    "time": ("extract_thumbnail",),
}
"""Which conversion types an option belongs to."""

EXTENSIONS: Final[dict[str, tuple[str, ...]]] = {
    "video_to_mp4": ("mp4",),
    "audio_to_mp3": ("mp3",),
    "image_resize": ("jpg", "jpeg", "png", "webp", "avif", "gif"),
    "extract_thumbnail": ("jpg", "jpeg", "png", "webp", "avif"),
}
"""The extensions that outputFile may have, by conversion type."""

_IMMUTABLE_REQUIRED: Final = ("conversionType", "inputFile", "outputFile")
_IMMUTABLE_OPTIONAL: Final = ("options", "timeoutSeconds", "maxRetries", "resources", "notify")


def spec_rules() -> list[ValidationRule]:
    """Rules on ``spec``."""
    return [
        *_path_rules(),
        *_extension_rules(),
        *_option_rules(),
        *_url_rules(),
        *_immutability_rules(),
    ]


def root_rules() -> list[ValidationRule]:
    """Rules on the whole object: no writer of the status can undo the end of a conversion."""
    return [
        ValidationRule("!has(oldSelf.status) || has(self.status)", "status may not be removed"),
        ValidationRule(
            "!has(oldSelf.status) || !(oldSelf.status.phase in "
            "['Succeeded', 'Failed', 'Cancelled']) || "
            "(has(self.status) && self.status.phase == oldSelf.status.phase)",
            "the phase of a finished conversion may not change",
        ),
        *_notify_rules(),
    ]


def _notify_rules() -> list[ValidationRule]:
    """Rules that keep a late write of the terminal status from undoing newer callback progress."""
    noted = "!has(oldSelf.status) || !has(oldSelf.status.notify) || "
    kept = "(has(self.status) && has(self.status.notify) && "
    return [
        ValidationRule(
            noted + kept + "self.status.notify.attempts >= oldSelf.status.notify.attempts)",
            "status.notify may not be removed, and its attempts may not decrease",
        ),
        ValidationRule(
            noted
            + "oldSelf.status.notify.state == 'Pending' || "
            + kept
            + "self.status.notify.state == oldSelf.status.notify.state)",
            "status.notify.state may not change once it is Delivered or GaveUp",
        ),
    ]


def _cel_list(items: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"'{item}'" for item in items) + "]"


def _path_rules() -> list[ValidationRule]:
    rules = [
        ValidationRule(
            f"!self.{name}.split('/').exists(part, part == '..' || part == '.')",
            f"{name} must not contain . or .. as a folder; use the plain path from the root of "
            "the shared volume",
            f".{name}",
        )
        for name in ("inputFile", "outputFile")
    ]
    same = ValidationRule(
        "(self.inputFile.startsWith('/') ? self.inputFile : '/' + self.inputFile) != "
        "(self.outputFile.startsWith('/') ? self.outputFile : '/' + self.outputFile)",
        "outputFile must not be the inputFile; the input is never changed",
        ".outputFile",
    )
    return [*rules, same]


def _extension_rules() -> list[ValidationRule]:
    return [
        ValidationRule(
            f"self.conversionType != '{kind}' || "
            f"{_cel_list(extensions)}.exists(e, "
            "self.outputFile.lowerAscii().endsWith('.' + e))",
            f"outputFile of {kind} must end in .{' or .'.join(extensions)}",
            ".outputFile",
        )
        for kind, extensions in EXTENSIONS.items()
    ]


def _option_rules() -> list[ValidationRule]:
    belongs = [
        ValidationRule(
            f"!has(self.options) || !has(self.options.{option}) || "
            f"self.conversionType in {_cel_list(kinds)}",
            f"options.{option} belongs to {' and '.join(kinds)} only",
            f".options.{option}",
        )
        for option, kinds in OPTION_TYPES.items()
    ]
    has_quality = "!has(self.options) || !has(self.options.quality) || "
    return [
        *belongs,
        ValidationRule(
            has_quality + "self.conversionType != 'video_to_mp4' || "
            "(type(self.options.quality) == string && "
            "self.options.quality in ['low', 'medium', 'high'])",
            "options.quality of video_to_mp4 must be low, medium or high",
            ".options.quality",
        ),
        ValidationRule(
            has_quality + "!(self.conversionType in ['image_resize', 'extract_thumbnail']) || "
            "type(self.options.quality) == int || "
            "!(self.options.quality in ['low', 'medium', 'high'])",
            "options.quality of image_resize and extract_thumbnail must be 1 to 100",
            ".options.quality",
        ),
        ValidationRule(
            "!has(self.options) || !has(self.options.size) || "
            f"self.options.size.split('x').all(side, int(side) <= {MAX_SIDE})",
            f"options.size must be WIDTHxHEIGHT with sides of 1 to {MAX_SIDE} pixels",
            ".options.size",
        ),
        ValidationRule(
            "!has(self.options) || !has(self.options.duration) || "
            "(type(self.options.duration) == int ? self.options.duration > 0 : "
            "self.options.duration.matches('[1-9]'))",
            "options.duration must be more than 0",
            ".options.duration",
        ),
    ]


def _url_rules() -> list[ValidationRule]:
    return [
        ValidationRule(
            "!has(self.notify) || self.notify.url.matches('^https?://[^/?#]')",
            "notify.url must begin with http:// or https:// and a host",
            ".notify.url",
        ),
        ValidationRule(
            "!has(self.notify) || !self.notify.url.matches('^[^/]*//[^/?#]*@')",
            "notify.url must not hold a user name or password; callbacks are signed instead",
            ".notify.url",
        ),
    ]


def _immutability_rules() -> list[ValidationRule]:
    hint = " (cancel, priority, ttlSecondsAfterFinished can change); create a new ConversionJob"
    required = [
        ValidationRule(f"self.{name} == oldSelf.{name}", f"{name} is immutable{hint}", f".{name}")
        for name in _IMMUTABLE_REQUIRED
    ]
    optional = [
        ValidationRule(
            f"has(self.{name}) == has(oldSelf.{name}) && "
            f"(!has(self.{name}) || self.{name} == oldSelf.{name})",
            f"{name} is immutable{hint}",
            f".{name}",
        )
        for name in _IMMUTABLE_OPTIONAL
    ]
    cancel = ValidationRule(
        "!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)",
        "cancel cannot be taken back; create a new ConversionJob",
        ".cancel",
    )
    return [*required, *optional, cancel]
