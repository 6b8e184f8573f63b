"""The health check of docs/gitops.md, run as Argo CD runs it: by Lua 5.1, with the object."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from lupa.lua51 import LuaRuntime
from markdown_it import MarkdownIt

PAGE: Final = Path(__file__).parents[2] / "docs/gitops.md"
OF_KSTATUS: Final = {"InProgress": "Progressing", "Failed": "Degraded", "Current": "Healthy"}


@cache
def manifests() -> tuple[dict[str, Any], ...]:
    """The YAML documents of the page, in order."""
    blocks = (t.content for t in MarkdownIt().parse(PAGE.read_text("utf-8")) if t.info == "yaml")
    return tuple(document for block in blocks for document in yaml.safe_load_all(block))


@cache
def health_check() -> tuple[str, str]:
    """The key in the ConfigMap of Argo CD, and the script."""
    (config,) = (found for found in manifests() if found["metadata"]["name"] == "argocd-cm")
    ((key, script),) = config["data"].items()
    return key, script


def argo_health(obj: dict[str, Any]) -> tuple[str, str | None]:
    """Healthy, Progressing or Degraded, and the message."""
    lua = LuaRuntime(register_eval=False, register_builtins=False)
    lua.globals()["obj"] = lua.table_from(obj, recursive=True)
    result = lua.execute(health_check()[1])
    return result["status"], result["message"]
