"""The rules by which Flux, Helm and kapply judge the health of a custom resource (kstatus).

``tests/e2e/test_health.py`` compares them with the library itself.
"""

from __future__ import annotations

from typing import Any


def health(obj: dict[str, Any]) -> str:
    """Terminating, InProgress, Failed or Current."""
    meta, status = obj["metadata"], obj.get("status") or {}
    if meta.get("deletionTimestamp"):
        return "Terminating"
    if status.get("observedGeneration", meta["generation"]) != meta["generation"]:
        return "InProgress"
    for condition in status.get("conditions") or ():
        if condition["type"] == "Reconciling" and condition["status"] == "True":
            return "InProgress"
        if condition["type"] == "Stalled" and condition["status"] == "True":
            return "Failed"
    for condition in status.get("conditions") or ():
        if condition["type"] == "Ready":
            return "Current" if condition["status"] == "True" else "InProgress"
    return "Current"
