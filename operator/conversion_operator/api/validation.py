"""CEL rules of the CRD: what the API server rejects at ``kubectl apply``, and its messages.

The schema of the spec has no patterns: the API server would report them as regular expressions. The
rules here say the same in words. A rule on one field is on its value, and any other rule begins
with has() of the optional fields that it reads. The API server skips an immutability rule on a
field when the field is added or removed, so rules on the spec forbid that.

The rules about one output exist twice: on the spec, for the form with one output, and on the items
of ``outputs``. There, the API server adds the index of the item to the field of the message.
"""

from __future__ import annotations

from typing import Final

from conversion_operator.api import names
from conversion_operator.api.cel import ValidationRule, cel_string
from conversion_operator.api.option_rules import extension_rule, option_rules
from conversion_operator.api.path_rules import input_rules, path_rules
from conversion_operator.api.spec import (
    ONE_FORM,
    PROFILE_PATTERN,
    QUEUE_PATTERN,
    URL_PATTERN,
)

_QUEUE: Final = (
    "(has({0}.spec.queue) ? {0}.spec.queue : has({0}.status) && has({0}.status.resolved) && "
    "has({0}.status.resolved.queue) ? {0}.status.resolved.queue : '" + names.DEFAULT_QUEUE + "')"
)
"""The ConversionQueue of a conversion. A field of the spec goes before the profile."""
_SEVERAL: Final = "has(self.outputs) || has(self.profile)"
_REQUIRED: Final = "FieldValueRequired"
_IMMUTABLE_REQUIRED: Final = ("inputFile",)
_IMMUTABLE_OPTIONAL: Final = (
    "conversionType",
    "outputFile",
    "options",
    "outputs",
    "profile",
    "dryRun",
    "overwrite",
    "damagedInput",
    "timeoutSeconds",
    "maxRetries",
    "resources",
    "notify",
)


def spec_rules() -> list[ValidationRule]:
    """Rules on ``spec``."""
    return [
        *_form_rules(),
        *path_rules("inputFile"),
        *path_rules("outputFile"),
        extension_rule().if_set("outputFile", "conversionType"),
        *(rule.if_set("outputFile", "conversionType") for rule in option_rules()),
        *input_rules(),
        *resource_rules(),
        *_url_rules(),
        *_immutability_rules(),
    ]


def output_rules(any_extension_if: str | None = None) -> list[ValidationRule]:
    """Rules on each item of ``spec.outputs``.

    The extension is not checked if the CEL expression ``any_extension_if`` is true.
    """
    extension = extension_rule()
    if any_extension_if:
        extension = extension.unless(any_extension_if)
    return [*path_rules("outputFile"), extension, *option_rules()]


def root_rules() -> list[ValidationRule]:
    """Rules on the whole object: no writer of the status can undo the end of a conversion."""
    return [
        # A status that is removed has its default: the phase Pending.
        ValidationRule(
            "!has(oldSelf.status) || oldSelf.status.phase == 'Pending' || "
            "(has(self.status) && self.status.phase != 'Pending')",
            "status may not be removed",
        ),
        ValidationRule(
            "!has(oldSelf.status) || !(oldSelf.status.phase in "
            "['Succeeded', 'Failed', 'Cancelled']) || "
            "(has(self.status) && self.status.phase == oldSelf.status.phase)",
            "the phase of a finished conversion may not change",
        ),
        ValidationRule(
            "!has(oldSelf.status) || oldSelf.status.phase in ['Pending', 'Queued'] || "
            f"{_QUEUE.format('self')} == {_QUEUE.format('oldSelf')}",
            "queue can only be changed while the conversion waits: suspend the conversion first",
            ".spec.queue",
        ),
        ValidationRule(
            "!has(oldSelf.status) || !has(oldSelf.status.resolved) || (has(self.status) && "
            "has(self.status.resolved) && self.status.resolved == oldSelf.status.resolved)",
            "status.resolved may not change",
        ),
        *_notify_rules(),
    ]


def queue_rules() -> list[ValidationRule]:
    """Rules on ``spec`` of a ConversionQueue."""
    return [
        ValidationRule(
            "!has(self.light) || !has(self.maxParallel) || self.maxParallel == 0 || "
            "self.light.reserved < self.maxParallel",
            "light.reserved must be lower than maxParallel",
            ".light.reserved",
        )
    ]


def queue_root_rules() -> list[ValidationRule]:
    """Rules on a whole ConversionQueue: spec.queue of a ConversionJob can name it."""
    return [
        ValidationRule(
            f"self.metadata.name.matches('{QUEUE_PATTERN}')",
            "the name must have at most 63 lower case letters, digits and -",
        )
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


def _form_rules() -> list[ValidationRule]:
    """Exactly one of three forms: one output, several outputs, or a profile."""
    return [
        ValidationRule(
            "[has(self.conversionType) || has(self.outputFile), has(self.outputs), "
            "has(self.profile)].exists_one(form, form)",
            ONE_FORM,
        ),
        ValidationRule(
            f"has(self.conversionType) || {_SEVERAL}",
            "conversionType is required with outputFile",
            ".conversionType",
            reason=_REQUIRED,
        ).if_set("outputFile"),
        ValidationRule(
            f"has(self.outputFile) || {_SEVERAL}",
            "outputFile is required with conversionType",
            ".outputFile",
            reason=_REQUIRED,
        ).if_set("conversionType"),
        ValidationRule(
            f"!({_SEVERAL})",
            "options belongs to conversionType and outputFile; each item of outputs has its own "
            "options",
            ".options",
        ).if_set("options"),
        ValidationRule(
            f"self.matches('{PROFILE_PATTERN}')",
            "profile must be the name of a ConversionProfile: at most 63 lower case letters, "
            "digits and -",
            at=("profile",),
        ),
    ]


_QUANTITIES: Final = {
    "cpu": (
        1000,
        "([0-9]{1,3}([.][0-9]{1,3})?|[0-9]{1,6}m)",
        "more than 0 and less than 1000 CPUs, for example 500m or 2",
    ),
    "memory": (
        10**14,
        "([0-9]{1,14}|[0-9]{1,11}([.][0-9]{1,3})?(k|Ki)|[0-9]{1,8}([.][0-9]{1,3})?(M|Mi)"
        "|[0-9]{1,5}([.][0-9]{1,3})?(G|Gi)|[0-9]{1,2}([.][0-9]{1,3})?(T|Ti))",
        "more than 0 and less than 100Ti, for example 512Mi or 2Gi",
    ),
}
"""Of each resource: the integer that is too large, the strings that are not, and both in words."""


def resource_rules() -> list[ValidationRule]:
    """Constant bounds of the resources. The operator's settings have lower ones."""
    return [
        ValidationRule(
            f"(type(self) == int ? self > 0 && self < {most} : "
            f"self.matches('^{pattern}$') && self.matches('[1-9]'))",
            f"resources.{kind}.{name} must be {words}",
            at=("resources", kind, name),
        )
        for kind in ("requests", "limits")
        for name, (most, pattern, words) in _QUANTITIES.items()
    ] + [_request_rule(name) for name in _QUANTITIES]


def _request_rule(name: str) -> ValidationRule:
    """Kubernetes rejects a pod whose request is above its limit."""
    request, limit = f"string(self.requests.{name})", f"string(self.limits.{name})"
    return ValidationRule(
        # Another rule rejects what is not a quantity.
        f"!isQuantity({request}) || !isQuantity({limit}) || "
        f"quantity({request}).compareTo(quantity({limit})) <= 0",
        f"resources.requests.{name} must not be more than resources.limits.{name}",
        f".requests.{name}",
        given=("requests", "limits", f"requests.{name}", f"limits.{name}"),
        at=("resources",),
    )


def _url_rules() -> list[ValidationRule]:
    """The rules are on ``notify``: of a rule on a string, the API server prints the string.

    The URL may hold a password.
    """
    checks = {
        f"self.url.matches({cel_string(URL_PATTERN)})": "must be printable ASCII without spaces "
        "and backslashes; encode other characters, a space as %20",
        "self.url.matches('^https?://[^/?#]')": "must begin with http:// or https:// and a host",
        "!self.url.matches('^[^/]*//[^/?#]*@')": "must not hold a user name or password; "
        "callbacks are signed instead",
    }
    return [
        ValidationRule(check, f"notify.url {says}", ".url", at=("notify",))
        for check, says in checks.items()
    ]


def _immutability_rules() -> list[ValidationRule]:
    hint = (
        " (cancel, priority, queue, suspend, ttlSecondsAfterFinished can change); create a new "
        "ConversionJob"
    )
    kept = [
        ValidationRule("self == oldSelf", f"{name} is immutable{hint}", at=(name,))
        for name in (*_IMMUTABLE_REQUIRED, *_IMMUTABLE_OPTIONAL)
    ]
    not_added = [
        ValidationRule(
            f"has(self.{name}) == has(oldSelf.{name})", f"{name} is immutable{hint}", f".{name}"
        )
        for name in _IMMUTABLE_OPTIONAL
    ]
    cancel = ValidationRule(
        "!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)",
        "cancel cannot be taken back; create a new ConversionJob",
        ".cancel",
    )
    return [*kept, *not_added, cancel]
