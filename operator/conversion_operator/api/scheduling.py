"""Tolerations and affinities as Kubernetes has them, checked as the API server checks them."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from conversion_operator.api.label_syntax import is_label_name, is_label_value, is_subdomain
from conversion_operator.api.strict_yaml import StrictModel, Text

RESERVED_TAINTS: Final = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
"""The taints whose tolerations the operator sets, from CONVERTER_UNREACHABLE_SECONDS."""


def _label_name(text: str) -> str:
    if not is_label_name(text):
        raise ValueError(f"{text!r} is not a valid name: write one such as example.com/team")
    return text


def _label_value(text: str) -> str:
    if not is_label_value(text):
        raise ValueError(
            f"{text!r} is not a valid value: write at most 63 letters, digits, - _ and . that "
            "begin and end with a letter or a digit"
        )
    return text


def _object_name(text: str) -> str:
    if not is_subdomain(text):
        raise ValueError(
            f"{text!r} is not the name of an object: write lower-case letters, digits, - and ."
        )
    return text


LabelName = Annotated[Text, AfterValidator(_label_name)]
LabelValue = Annotated[Text, AfterValidator(_label_value)]
ObjectName = Annotated[Text, AfterValidator(_object_name)]

Labels = dict[LabelName, LabelValue]
_Weight = Annotated[int, Field(ge=1, le=100)]


class Toleration(StrictModel):
    """A toleration of a taint."""

    key: LabelName | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _fields_fit(self) -> Toleration:
        if self.operator == "Exists" and self.value:
            raise ValueError("remove the value: the operator Exists allows none")
        if not self.key and self.operator != "Exists":
            raise ValueError("write a key, or `operator: Exists` to tolerate every taint")
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise ValueError("tolerationSeconds needs `effect: NoExecute`")
        if self.key in RESERVED_TAINTS:
            raise ValueError(
                f"the operator sets the toleration of {self.key}: use the setting "
                "CONVERTER_UNREACHABLE_SECONDS"
            )
        return self


class _Requirement(StrictModel):
    """An expression over the labels of an object."""

    key: LabelName
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[LabelValue] | None = None

    @model_validator(mode="after")
    def _values_fit(self) -> _Requirement:
        if bool(self.values) != (self.operator in ("In", "NotIn")):
            need = "has no values" if self.values else "needs at least one value"
            raise ValueError(f"the operator {self.operator} {need}")
        return self


class _NodeRequirement(StrictModel):
    """An expression over the labels of a node."""

    key: LabelName
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    values: list[LabelValue] | None = None

    @model_validator(mode="after")
    def _values_fit(self) -> _NodeRequirement:
        values = self.values or []
        if self.operator in ("Gt", "Lt"):
            if len(values) != 1 or not values[0].isdecimal():
                raise ValueError(f'the operator {self.operator} needs one number, such as ["8"]')
        elif bool(values) != (self.operator in ("In", "NotIn")):
            need = "has no values" if values else "needs at least one value"
            raise ValueError(f"the operator {self.operator} {need}")
        return self


class _NodeField(StrictModel):
    """An expression over the name of a node."""

    key: Literal["metadata.name"]
    operator: Literal["In", "NotIn"]
    values: Annotated[list[ObjectName], Field(min_length=1, max_length=1)]


class _NodeTerm(StrictModel):
    """A condition that a node can meet. All expressions must hold."""

    match_expressions: list[_NodeRequirement] | None = None
    match_fields: list[_NodeField] | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> _NodeTerm:
        if not self.match_expressions and not self.match_fields:
            raise ValueError("write matchExpressions or matchFields: an empty term fits no node")
        return self


class _NodeSelector(StrictModel):
    """Conditions of which a node must meet one."""

    node_selector_terms: Annotated[list[_NodeTerm], Field(min_length=1)]


class _PreferredNodes(StrictModel):
    """Nodes that are preferred."""

    weight: _Weight
    preference: _NodeTerm


_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"


class _NodeAffinity(StrictModel):
    """The nodes on which a pod may run."""

    required: _NodeSelector | None = Field(None, alias=_REQUIRED)
    preferred: list[_PreferredNodes] | None = Field(None, alias=_PREFERRED)


class _LabelSelector(StrictModel):
    """A selection of objects by their labels. Empty: all."""

    match_labels: Labels | None = None
    match_expressions: list[_Requirement] | None = None


class _PodTerm(StrictModel):
    """The pods near which, or away from which, a pod runs."""

    label_selector: _LabelSelector | None = None
    namespaces: list[ObjectName] | None = None
    namespace_selector: _LabelSelector | None = None
    topology_key: LabelName
    match_label_keys: list[LabelName] | None = None
    mismatch_label_keys: list[LabelName] | None = None

    @model_validator(mode="after")
    def _keys_fit(self) -> _PodTerm:
        match, mismatch = self.match_label_keys or [], self.mismatch_label_keys or []
        if (match or mismatch) and self.label_selector is None:
            raise ValueError("matchLabelKeys and mismatchLabelKeys need a labelSelector")
        both = set(match) & set(mismatch)
        if both:
            raise ValueError(f"{min(both)} is in matchLabelKeys and in mismatchLabelKeys")
        return self


class _PreferredPods(StrictModel):
    """Pods that are preferred as neighbours, or not."""

    weight: _Weight
    pod_affinity_term: _PodTerm


class _PodAffinity(StrictModel):
    """The pods near which, or away from which, a pod runs."""

    required: list[_PodTerm] | None = Field(None, alias=_REQUIRED)
    preferred: list[_PreferredPods] | None = Field(None, alias=_PREFERRED)


class Affinity(StrictModel):
    """The affinities of a pod."""

    node_affinity: _NodeAffinity | None = None
    pod_affinity: _PodAffinity | None = None
    pod_anti_affinity: _PodAffinity | None = None
