"""Small things that most tests of the operator need."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio.client import ApiClient, Configuration

from tests.component.support.errors import Obj


def conversion_job(name: str, namespace: str = "my-network", **spec: Any) -> Obj:
    """A ConversionJob; without more a small video_to_mp4. ``metadata`` may be among ``spec``."""
    extra: Obj = spec.pop("metadata", {})
    body = {
        "conversionType": "video_to_mp4",
        "inputFile": f"input/{name}.mov",
        "outputFile": f"output/{name}.mp4",
    }
    return {
        "apiVersion": "converter.mynetwork.io/v1alpha1",
        "kind": "ConversionJob",
        "metadata": {"name": name, "namespace": namespace} | extra,
        "spec": body | spec,
    }


def configuration(url: str, token: str | None = None) -> Configuration:
    """How the official client is told to talk to a front."""
    made = Configuration(host=url)
    if token is not None:
        made.api_key["BearerToken"] = f"Bearer {token}"
    return made


@asynccontextmanager
async def client(url: str, token: str | None = None) -> AsyncIterator[ApiClient]:
    """An official asyncio client for a front."""
    async with ApiClient(configuration(url, token)) as made:
        yield made


def write_kubeconfig(path: Path, url: str, token: str = "test") -> Path:  # noqa: S107
    """A kubeconfig for a front, for operators that run as a process of their own."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [
            {
                "name": "test",
                "context": {"cluster": "test", "user": "test", "namespace": "my-network"},
            }
        ],
        "current-context": "test",
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path
