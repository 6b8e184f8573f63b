"""The answers of /api, /apis and /version."""

from __future__ import annotations

from collections.abc import Iterable

from tests.component.support.errors import Obj
from tests.component.support.kinds import CONVERSIONJOBS, SERVED, Kind

VERSION: Obj = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.0",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "2025-08-27T10:00:00Z",
    "goVersion": "go1.24.6",
    "compiler": "gc",
    "platform": "linux/amd64",
}
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


def _group(name: str, kinds: Iterable[Kind]) -> Obj:
    versions = [
        {"groupVersion": f"{name}/{version}", "version": version}
        for version in sorted({kind.version for kind in kinds})
    ]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _resources(kind: Kind) -> list[Obj]:
    main: Obj = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(_VERBS),
    }
    if kind.short_names:
        main["shortNames"] = list(kind.short_names)
    if kind.categories:
        main["categories"] = list(kind.categories)
    subs = [
        {
            "name": f"{kind.plural}/{name}",
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": ["get"] if name == "log" else ["get", "patch", "update"],
        }
        for name in kind.subresources
    ]
    return [main, *subs]


def _openapi(custom: Obj) -> Obj:
    """The OpenAPI v3 document of the custom resource."""
    gvk = {
        "group": CONVERSIONJOBS.group,
        "version": CONVERSIONJOBS.version,
        "kind": CONVERSIONJOBS.kind,
    }
    schema = custom | {"x-kubernetes-group-version-kind": [gvk]}
    return {"openapi": "3.0.0", "components": {"schemas": {"ConversionJob": schema}}}


def answer(path: str, custom: Obj | None = None) -> Obj | None:
    """The document at a discovery path; None for other paths.

    ``custom`` is the schema of the custom resource.
    """
    if custom is not None and path == f"/openapi/v3/apis/{CONVERSIONJOBS.api_version}":
        return _openapi(custom)
    groups = {kind.group: [k for k in SERVED if k.group == kind.group] for kind in SERVED}
    match [part for part in path.split("/") if part]:
        case ["version"]:
            return VERSION
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            listed = [_group(name, found) for name, found in groups.items() if name]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        case ["apis", name] if name in groups:
            return {"kind": "APIGroup", "apiVersion": "v1"} | _group(name, groups[name])
        case ["api", version]:
            return _resource_list("", version, groups)
        case ["apis", group, version]:
            return _resource_list(group, version, groups)
    return None


def _resource_list(group: str, version: str, groups: dict[str, list[Kind]]) -> Obj | None:
    found = [kind for kind in groups.get(group, []) if kind.version == version]
    if not found:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": found[0].api_version,
        "resources": [entry for kind in found for entry in _resources(kind)],
    }
