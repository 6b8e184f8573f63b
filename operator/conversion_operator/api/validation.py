"""CEL rules of the CRD: what the API server rejects at ``kubectl apply``, and its messages.

The schema of the spec has no patterns: the API server would report them as regular expressions. The
rules here say the same in words. Each rule on an optional field starts with has(). The immutability
rules are on the spec as a whole, because the API server skips a rule on an optional field when the
field is added or removed.

The rules about one output exist twice: on the spec, for the form with one output, and on the items
of ``outputs``. There, the API server adds the index of the item to the field of the message.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from conversion_operator.api import names
from conversion_operator.api.spec import (
    NOT_SAME_PATH,
    NOT_SAME_VTT,
    ONE_FORM,
    ONE_REQUIRED,
    PATH_PATTERN,
    PROFILE_PATTERN,
    QUEUE_PATTERN,
    URL_PATTERN,
)
from media_converter.contract import MAX_OUTPUTS, ConversionType
from media_converter.option_values import Choices, Moment, Size, Time, in_words
from media_converter.options import (
    EXCLUSIVE,
    FORBIDDEN_CHARACTERS,
    FORMATS,
    GRAMMAR,
    NEEDS,
    NO_FORBIDDEN_CHARACTERS,
    Need,
    Option,
    extensions_of,
    types_of,
)


class ValidationRule(NamedTuple):
    """One x-kubernetes-validations entry.

    ``field`` is the path that the error names. ``expression`` is CEL for a message with values. The
    API server uses ``message`` if the expression fails. ``reason`` says which kind of error it is.
    """

    rule: str
    message: str
    field: str | None = None
    expression: str | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, str]:
        """The entry in the CRD."""
        entry = {"rule": self.rule, "message": self.message}
        entry |= {"messageExpression": self.expression} if self.expression else {}
        entry |= {"reason": self.reason} if self.reason else {}
        return entry | ({"fieldPath": self.field} if self.field else {})

    def if_set(self, *fields: str) -> ValidationRule:
        """The rule for objects that have these fields. Another rule says which they must have."""
        absent = "".join(f"!has(self.{field}) || " for field in fields)
        return self._replace(rule=absent + self.rule)

    def unless(self, exempt: str) -> ValidationRule:
        """The rule for objects for which this CEL expression is false."""
        return self._replace(rule=f"{exempt} || {self.rule}")


_QUEUE: Final = (
    "(has({0}.spec.queue) ? {0}.spec.queue : has({0}.status) && has({0}.status.resolved) && "
    "has({0}.status.resolved.queue) ? {0}.status.resolved.queue : '" + names.DEFAULT_QUEUE + "')"
)
"""The ConversionQueue of a conversion. A field of the spec goes before the profile."""
_REQUIRED: Final = "FieldValueRequired"
_STORYBOARD: Final = ConversionType.VIDEO_STORYBOARD
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
        *_path_rules("inputFile"),
        *(rule.if_set("outputFile") for rule in _path_rules("outputFile")),
        *(rule.if_set("conversionType", "outputFile") for rule in _extension_rules()),
        *(rule.if_set("conversionType", "outputFile") for rule in _option_rules()),
        *_input_rules(),
        *resource_rules(),
        *_url_rules(),
        *_immutability_rules(),
    ]


def output_rules(any_extension_if: str = "false") -> list[ValidationRule]:
    """Rules on each item of ``spec.outputs``.

    The extension is not checked if the CEL expression ``any_extension_if`` is true.
    """
    extension = [
        rule if any_extension_if == "false" else rule.unless(any_extension_if)
        for rule in _extension_rules()
    ]
    return [*_path_rules("outputFile"), *extension, *_option_rules()]


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
            f"{_QUEUE.format('self')} == {_QUEUE.format('oldSelf')} || !has(oldSelf.status) || "
            "oldSelf.status.phase in ['Pending', 'Queued']",
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


def _cel_list(items: Iterable[str]) -> str:
    return "[" + ", ".join(f"'{item}'" for item in items) + "]"


def _cel_string(text: str) -> str:
    return "'" + text.replace("\\", "\\\\") + "'"


def _form_rules() -> list[ValidationRule]:
    """Exactly one of three forms: one output, several outputs, or a profile."""
    single = "(has(self.conversionType) || has(self.outputFile))"
    several = "(has(self.outputs) || has(self.profile))"
    one_of = f"[{single}, has(self.outputs), has(self.profile)].exists_one(form, form)"
    return [
        ValidationRule(one_of, ONE_FORM),
        ValidationRule(
            f"{several} || has(self.conversionType) || !has(self.outputFile)",
            "conversionType is required with outputFile",
            ".conversionType",
            reason=_REQUIRED,
        ),
        ValidationRule(
            f"{several} || has(self.outputFile) || !has(self.conversionType)",
            "outputFile is required with conversionType",
            ".outputFile",
            reason=_REQUIRED,
        ),
        ValidationRule(
            f"!has(self.options) || !{several}",
            "options belongs to conversionType and outputFile; each item of outputs has its own "
            "options",
            ".options",
        ),
        ValidationRule(
            f"!has(self.profile) || self.profile.matches('{PROFILE_PATTERN}')",
            "profile must be the name of a ConversionProfile: at most 63 lower case letters, "
            "digits and -",
            ".profile",
        ),
    ]


def _path_rules(name: str) -> list[ValidationRule]:
    return [
        ValidationRule(
            f"self.{name}.matches({_cel_string(PATH_PATTERN)})",
            f"{name} must be the path of a file without empty folders, such as input/holiday.mov",
            f".{name}",
        ),
        ValidationRule(
            f"!self.{name}.split('/').exists(part, part == '..' || part == '.')",
            f"{name} must not contain . or .. as a folder; use the plain path from the root of "
            "the shared volume",
            f".{name}",
        ),
        ValidationRule(
            f"!self.{name}.matches('{_forbidden_characters()}')",
            f"{name} {NO_FORBIDDEN_CHARACTERS}",
            f".{name}",
        ),
    ]


def _from_root(path: str) -> str:
    """CEL for a path with its leading slash. Other rules reject empty folders, . and .."""
    return f"({path}.startsWith('/') ? {path} : '/' + {path})"


def _input_rules() -> list[ValidationRule]:
    """Rules on several fields: the input and the outputs together."""
    source = _from_root("self.inputFile")
    is_input = "must not be the inputFile; the input is never changed"
    is_vtt = f"the .vtt file of a {_STORYBOARD} {is_input}"
    return [
        ValidationRule(
            f"{source} != {_from_root('self.outputFile')}", f"outputFile {is_input}", ".outputFile"
        ).if_set("outputFile"),
        ValidationRule(
            f"!self.outputs.exists(o, {_from_root('o.outputFile')} == {source})",
            f"the outputFile of an output {is_input}",
            ".outputs",
            f"'the outputFile of an output {is_input}: ' + self.inputFile",
        ).if_set("outputs"),
        ValidationRule(
            f"{_is_no_storyboard('self')} || {source} != {_vtt('self.outputFile')}",
            is_vtt,
            ".outputFile",
        ).if_set("conversionType", "outputFile"),
        ValidationRule(
            f"self.outputs.all(o, {_is_no_storyboard('o')} || {source} != {_vtt('o.outputFile')})",
            is_vtt,
            ".outputs",
        ).if_set("outputs"),
        *(rule.if_set("outputs") for rule in outputs_rules()),
    ]


def outputs_rules() -> list[ValidationRule]:
    """Rules on the outputs together."""
    return [
        *map(_distinct_rule, range(1, MAX_OUTPUTS)),
        *map(_distinct_vtt_rule, range(1, MAX_OUTPUTS)),
        ValidationRule(
            f"self.outputs.all(o, {_is_no_storyboard('o')} || !self.outputs.exists(other, "
            f"{_from_root('other.outputFile')}.startsWith({_vtt('o.outputFile')} + '/')))",
            f"the .vtt file of a {_STORYBOARD} must not be a folder of another output",
            ".outputs",
        ),
        ValidationRule(
            "self.outputs.exists(o, !has(o.optional) || !o.optional)",
            ONE_REQUIRED,
            ".outputs",
        ),
    ]


def _forbidden_characters() -> str:
    """A class of RE2, with the escapes of a string in CEL. The pattern excludes the zero byte."""
    ranges = (f"\\U{first or 1:08x}-\\U{last:08x}" for first, last in FORBIDDEN_CHARACTERS)
    return f"[{''.join(ranges)}]"


def _extension_rules() -> list[ValidationRule]:
    return [
        ValidationRule(
            f"self.conversionType != '{kind}' || "
            f"{_cel_list(extensions)}.exists(e, "
            "self.outputFile.lowerAscii().endsWith('.' + e))",
            f"outputFile of {kind} must end in {extensions_of(kind)}",
            ".outputFile",
        )
        for kind, extensions in FORMATS.items()
    ]


def _option_rules() -> list[ValidationRule]:
    names = dict.fromkeys(option.name for option in GRAMMAR)
    limited = [option for option in GRAMMAR if option.extensions]
    return [
        *map(_type_rule, names),
        *map(_value_rule, GRAMMAR),
        *map(_option_extension_rule, limited),
        *(_exclusive_rule(one, other) for one, other in EXCLUSIVE),
        *map(_need_rule, NEEDS),
    ]


def _type_rule(name: str) -> ValidationRule:
    types = [kind for option in GRAMMAR if option.name == name for kind in option.types]
    return ValidationRule(
        f"{_absent(name)} || self.conversionType in {_cel_list(types)}",
        f"options.{name} belongs to {types_of(name)} only",
        f".options.{name}",
    )


def _value_rule(option: Option) -> ValidationRule:
    name, types = option.name, in_words(option.types, "and")
    of = "" if types == types_of(name) else f" of {types}"
    return ValidationRule(
        f"{_absent(name)} || !(self.conversionType in {_cel_list(option.types)}) || "
        f"{_cel_check(option)}",
        f"options.{name}{of} must be {option.kind.must_be}",
        f".options.{name}",
    )


def _option_extension_rule(option: Option) -> ValidationRule:
    types = in_words(option.types, "and")
    return ValidationRule(
        f"{_absent(option.name)} || !(self.conversionType in {_cel_list(option.types)}) || "
        f"{_cel_list(option.extensions)}.exists(e, self.outputFile.lowerAscii().endsWith('.' + e))",
        f"options.{option.name} of {types} {option.only_for}",
        f".options.{option.name}",
    )


def _exclusive_rule(one: str, other: str) -> ValidationRule:
    return ValidationRule(
        f"{_absent(one)} || !has(self.options.{other})",
        f"options.{other} does not go together with {one}; set one of them",
        f".options.{other}",
    )


def _need_rule(need: Need) -> ValidationRule:
    """The options exist if one of them does."""
    has_value = f" || self.options.{need.option} != '{need.value}'" if need.value else ""
    needed = f"has(self.options.{need.needed})"
    if need.needed_value:
        needed += f" && self.options.{need.needed} == '{need.needed_value}'"
    return ValidationRule(
        f"{_absent(need.option)}{has_value} || ({needed})",
        f"options.{need.option} {need.words}",
        f".options.{need.option}",
    )


def _absent(name: str) -> str:
    return f"!has(self.options) || !has(self.options.{name})"


def _cel_check(option: Option) -> str:
    """True for the values that the row accepts.

    The pattern is checked first: int() and duration() end in an error for other strings, and the
    API server would report that error in place of our message.
    """
    value, kind = f"self.options.{option.name}", option.kind
    check = f"{value}.matches('{kind.pattern}')"
    if isinstance(kind, Size):
        check += f" && {value}.split('x').all(side, int(side) <= {kind.max_side})"
    if isinstance(kind, Time | Moment):
        # 1:02:03.5 as the Go duration 1h02m03.5s, 90 as 90s.
        seconds = f"duration({value}.replace(':', 'h', 1).replace(':', 'm', 1) + 's')"
        in_bounds = f"{seconds} <= duration('{kind.max_seconds}s')"
        if isinstance(kind, Moment):
            in_bounds = f"({value}.endsWith('%') || {in_bounds})"
        check += f" && {in_bounds}"
    if isinstance(kind, Time) and not kind.allows_zero:
        check += f" && {value}.matches('[1-9]')"
    if kind.integers is None:
        return f"type({value}) == string && {check}"
    if isinstance(kind, Choices):
        return f"(type({value}) == int ? {value} in {list(kind.numbers)} : {check})"
    low, high = kind.integers
    return f"(type({value}) == int ? {value} >= {low} && {value} <= {high} : {check})"


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
            f"!has(self.resources) || !has(self.resources.{kind}) || "
            f"!has(self.resources.{kind}.{name}) || (type({value}) == int ? "
            f"{value} > 0 && {value} < {most} : "
            f"{value}.matches('^{pattern}$') && {value}.matches('[1-9]'))",
            f"resources.{kind}.{name} must be {words}",
            f".resources.{kind}.{name}",
        )
        for kind in ("requests", "limits")
        for name, (most, pattern, words) in _QUANTITIES.items()
        for value in (f"self.resources.{kind}.{name}",)
    ] + [_request_rule(name) for name in _QUANTITIES]


def _request_rule(name: str) -> ValidationRule:
    """Kubernetes rejects a pod whose request is above its limit."""
    request, limit = f"self.resources.requests.{name}", f"self.resources.limits.{name}"
    texts = f"string({request})", f"string({limit})"
    return ValidationRule(
        "!has(self.resources) || !has(self.resources.requests) || !has(self.resources.limits) || "
        f"!has({request}) || !has({limit}) || "
        # Another rule rejects what is not a quantity.
        f"!isQuantity({texts[0]}) || !isQuantity({texts[1]}) || "
        f"quantity({texts[0]}).compareTo(quantity({texts[1]})) <= 0",
        f"resources.requests.{name} must not be more than resources.limits.{name}",
        f".resources.requests.{name}",
    )


def _url_rules() -> list[ValidationRule]:
    return [
        ValidationRule(
            f"!has(self.notify) || self.notify.url.matches({_cel_string(URL_PATTERN)})",
            "notify.url must be printable ASCII without spaces and backslashes; encode other "
            "characters, a space as %20",
            ".notify.url",
        ),
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


def _distinct_rule(number: int) -> ValidationRule:
    """One item has another path than those before it, and no path is a folder of the other.

    Each item has a rule of its own. A messageExpression with the number would cost too much.
    """
    this, earlier = (_from_root(f"self.outputs[{n}].outputFile") for n in (number, "other"))
    differ = f"{this} != {earlier}"
    no_folder = f"!{this}.startsWith({earlier} + '/') && !{earlier}.startsWith({this} + '/')"
    return ValidationRule(
        f"self.outputs.size() <= {number} || "
        f"{[*range(number)]}.all(other, {differ} && {no_folder})",
        f"outputs[{number}] {NOT_SAME_PATH} as an earlier output, and neither may be a folder of "
        "the other",
        ".outputs",
    )


def _distinct_vtt_rule(number: int) -> ValidationRule:
    """A storyboard has another WebVTT file than those before it.

    No other type has an output with this extension.
    """
    this = f"self.outputs[{number}]"
    other = "self.outputs[other]"
    return ValidationRule(
        f"self.outputs.size() <= {number} || {_is_no_storyboard(this)} || "
        f"{[*range(number)]}.all(other, {_is_no_storyboard(other)} || "
        f"{_vtt(this + '.outputFile')} != {_vtt(other + '.outputFile')})",
        f"outputs[{number}] {NOT_SAME_VTT} as an earlier output",
        ".outputs",
    )


def _is_no_storyboard(output: str) -> str:
    return f"{output}.conversionType != '{_STORYBOARD}'"


def _vtt(path: str) -> str:
    """CEL for the path of the WebVTT file of a storyboard, with a leading slash."""
    stem = f"({path}.contains('.') ? {path}.substring(0, {path}.lastIndexOf('.')) : {path})"
    return f"(({path}.startsWith('/') ? '' : '/') + {stem} + '.vtt')"


def _immutability_rules() -> list[ValidationRule]:
    hint = (
        " (cancel, priority, queue, suspend, ttlSecondsAfterFinished can change); create a new "
        "ConversionJob"
    )
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
