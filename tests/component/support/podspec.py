"""Defaults and validation of the spec of a pod or of a Job's pod template."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from tests.component.support.errors import Obj
from tests.component.support.metadata import Causes, label_causes, name_error

_ENV_NAME: Final = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_SUFFIXES: Final = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{s: Decimal(1000) ** i for i, s in enumerate("kMGTPE", 1)},
    **{f"{s}i": Decimal(1024) ** i for i, s in enumerate("KMGTPE", 1)},
}
_QUANTITY: Final = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)(m|[kMGTPE]|[KMGTPE]i)?")
_OPERATORS: Final = ("Exists", "Equal", "")


def parse_quantity(text: str) -> Decimal | None:
    """A resource quantity in its base unit; None if the text is not a quantity."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    try:
        return Decimal(match[1]) * _SUFFIXES[match[2] or ""]
    except InvalidOperation:
        return None


def set_defaults(spec: Obj) -> None:
    """Defaults of a pod spec, in place."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    for container in [*spec.get("containers", []), *spec.get("initContainers", [])]:
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        image = container.get("image", "")
        latest = ":" not in image.rsplit("/", 1)[-1] or image.endswith(":latest")
        container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
        resources = container.setdefault("resources", {})
        for name, limit in (resources.get("limits") or {}).items():
            resources.setdefault("requests", {}).setdefault(name, limit)


def _resource_causes(resources: Obj, field: str) -> Causes:
    causes: Causes = []
    parsed: dict[str, dict[str, Decimal]] = {"limits": {}, "requests": {}}
    for part, amounts in parsed.items():
        for name, text in (resources.get(part) or {}).items():
            amounts[name] = parse_quantity(text) or Decimal(0)
            if amounts[name] < 0:
                problem = f'Invalid value: "{text}": must be greater than or equal to 0'
                causes.append((f"{field}.{part}[{name}]", problem))
    for name, request in parsed["requests"].items():
        limit = parsed["limits"].get(name)
        if limit is not None and request > limit:
            problem = f"Invalid value: must be less than or equal to {name} limit"
            causes.append((f"{field}.requests", problem))
    return causes


def _mount_causes(mounts: list[Obj], volumes: set[str], field: str) -> Causes:
    causes: Causes = []
    paths: set[str] = set()
    for i, mount in enumerate(mounts):
        where = f"{field}.volumeMounts[{i}]"
        if mount.get("name") not in volumes:
            causes.append((f"{where}.name", f'Not found: "{mount.get("name")}"'))
        path = mount.get("mountPath", "")
        if not path:
            causes.append((f"{where}.mountPath", "Required value"))
        if path in paths:
            causes.append((f"{where}.mountPath", f'Invalid value: "{path}": must be unique'))
        paths.add(path)
        if ".." in mount.get("subPath", "").split("/"):
            causes.append((f"{where}.subPath", "Invalid value: must not contain '..'"))
    return causes


def _container_causes(container: Obj, volumes: set[str], field: str) -> Causes:
    causes: Causes = []
    name = container.get("name", "")
    if problem := name_error(name, dns_label=True):
        causes.append((f"{field}.name", problem if name else "Required value"))
    if not container.get("image"):
        causes.append((f"{field}.image", "Required value"))
    for i, variable in enumerate(container.get("env") or []):
        if not _ENV_NAME.fullmatch(variable.get("name", "")):
            problem = (
                f'Invalid value: "{variable.get("name", "")}": not an environment variable name'
            )
            causes.append((f"{field}.env[{i}].name", problem))
    causes += _mount_causes(container.get("volumeMounts") or [], volumes, field)
    policy = container.get("terminationMessagePolicy")
    if policy not in (None, "File", "FallbackToLogsOnError"):
        causes.append((f"{field}.terminationMessagePolicy", f'Unsupported value: "{policy}"'))
    return causes + _resource_causes(container.get("resources") or {}, f"{field}.resources")


def _volume_causes(volumes: list[Obj], field: str) -> Causes:
    causes: Causes = []
    seen: set[str] = set()
    for i, volume in enumerate(volumes):
        name = volume.get("name", "")
        if name_error(name, dns_label=True) or name in seen:
            problem = "Duplicate value" if name in seen else "Invalid value"
            causes.append((f"{field}[{i}].name", f'{problem}: "{name}"'))
        seen.add(name)
        if len(volume.keys() - {"name"}) != 1:
            causes.append((f"{field}[{i}]", "Forbidden: exactly one volume type must be given"))
    return causes


def causes(spec: Obj, field: str) -> Causes:
    """The errors in a pod spec."""
    found: Causes = []
    volumes: list[Obj] = spec.get("volumes") or []
    found += _volume_causes(volumes, f"{field}.volumes")
    if not spec.get("containers"):
        found.append((f"{field}.containers", "Required value"))
    names = {volume.get("name", "") for volume in volumes}
    seen: set[str] = set()
    for part in ("initContainers", "containers"):
        for i, container in enumerate(spec.get(part) or []):
            where = f"{field}.{part}[{i}]"
            found += _container_causes(container, names, where)
            if container.get("name") in seen:
                found.append((f"{where}.name", f'Duplicate value: "{container["name"]}"'))
            seen.add(container.get("name", ""))
    if spec.get("restartPolicy") not in (None, "Always", "OnFailure", "Never"):
        found.append((f"{field}.restartPolicy", f'Unsupported value: "{spec["restartPolicy"]}"'))
    for i, toleration in enumerate(spec.get("tolerations") or []):
        if toleration.get("operator", "") not in _OPERATORS:
            found.append((f"{field}.tolerations[{i}].operator", "Unsupported value"))
        if "tolerationSeconds" in toleration and toleration.get("effect") != "NoExecute":
            problem = "Invalid value: effect must be 'NoExecute' when tolerationSeconds is set"
            found.append((f"{field}.tolerations[{i}].effect", problem))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and deadline < 1:
        found.append((f"{field}.activeDeadlineSeconds", f"Invalid value: {deadline}"))
    found += label_causes(spec.get("nodeSelector"), f"{field}.nodeSelector")
    return found


def immutable_part(spec: Obj) -> Any:
    """A pod's spec without the fields that an update may change."""
    kept = {k: v for k, v in spec.items() if k not in ("activeDeadlineSeconds", "tolerations")}
    kept["containers"] = [
        {k: v for k, v in c.items() if k != "image"} for c in spec.get("containers", [])
    ]
    return kept
