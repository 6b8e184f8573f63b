"""ConversionJobs and clients for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio.client import ApiClient, Configuration

from tests.component.support.errors import Obj


def conversion_job(name: str, namespace: str = "my-network", **spec: Any) -> Obj:
    """A ConversionJob, by default a video_to_mp4. ``spec`` may also hold ``metadata``."""
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
    """The configuration of the official client for an endpoint."""
    made = Configuration(host=url)
    if token is not None:
        made.api_key["BearerToken"] = f"Bearer {token}"
    return made


@asynccontextmanager
async def client(url: str, token: str | None = None) -> AsyncIterator[ApiClient]:
    """The official asyncio client for an endpoint."""
    async with ApiClient(configuration(url, token)) as made:
        yield made


def write_kubeconfig(path: Path, url: str, token: str = "test") -> Path:  # noqa: S107
    """Writes a kubeconfig for an endpoint, for operators in their own process."""
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
