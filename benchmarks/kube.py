"""A small client of a real API server: creates objects, and watches with the time of each event."""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
import yaml

Obj = dict[str, Any]
Taker = Callable[[str, Obj, float], None]

_CONNECTIONS: Final = 32
_OPENING_SECONDS: Final = 1.0
_SERIES: Final = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$")
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


class Kube:
    """Requests with the rights of a kubeconfig with a client certificate."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, path: str) -> Obj:
        async with self._session.get(path) as answer:
            answer.raise_for_status()
            body: Obj = orjson.loads(await answer.read())
            return body

    async def post(self, path: str, body: Obj) -> Obj:
        headers = {"Content-Type": "application/json"}
        async with self._session.post(path, data=orjson.dumps(body), headers=headers) as answer:
            if answer.status >= 300:
                raise RuntimeError(f"{path}: {answer.status} {await answer.text()}")
            made: Obj = orjson.loads(await answer.read())
            return made

    async def merge(self, path: str, patch: Obj) -> None:
        headers = {"Content-Type": "application/merge-patch+json"}
        async with self._session.patch(path, data=orjson.dumps(patch), headers=headers) as answer:
            if answer.status >= 300:
                raise RuntimeError(f"{path}: {answer.status} {await answer.text()}")

    async def delete(self, path: str, **options: Any) -> None:
        body = orjson.dumps({"apiVersion": "v1", "kind": "DeleteOptions", **options})
        headers = {"Content-Type": "application/json"}
        async with self._session.delete(path, data=body, headers=headers) as answer:
            if answer.status >= 300 and answer.status != 404:
                raise RuntimeError(f"{path}: {answer.status} {await answer.text()}")

    async def count_requests(self) -> Counter[str]:
        """The requests that the API server has served, by verb and resource."""
        async with self._session.get("/metrics") as answer:
            text = await answer.text()
        found: Counter[str] = Counter()
        for line in text.splitlines():
            if match := _SERIES.match(line):
                labels = dict(_LABEL.findall(match[1]))
                parts = (labels.get("resource"), labels.get("subresource"))
                what = "/".join(part for part in parts if part)
                if what:
                    found[f"{labels['verb'].lower()} {what}"] += int(float(match[2]))
        return found

    async def watch(self, path: str, take: Taker) -> None:
        """Calls ``take`` with the type, the object and the time of each event, until cancelled."""
        version = (await self.get(f"{path}?limit=1"))["metadata"]["resourceVersion"]
        while True:
            query = f"{path}?watch=1&allowWatchBookmarks=true&resourceVersion={version}"
            timeout = aiohttp.ClientTimeout(total=None)
            async with self._session.get(query, timeout=timeout) as answer:
                answer.raise_for_status()
                async for line in _lines(answer.content):
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise RuntimeError(f"{path}: {event['object']}")
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        take(event["type"], event["object"], time.monotonic())


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in stream.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[Kube]:
    """A client for the cluster that kind has written to a kubeconfig."""
    config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))  # noqa: ASYNC240
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder) / "client.pem"
        data = (user["client-certificate-data"], user["client-key-data"])
        pair.write_bytes(b"\n".join(map(base64.b64decode, data)))
        context.load_cert_chain(pair)
    connector = aiohttp.TCPConnector(ssl=context, limit=_CONNECTIONS)
    async with aiohttp.ClientSession(cluster["server"], connector=connector) as session:
        yield Kube(session)


async def run_watched(
    kube: Kube, takers: dict[str, Taker], work: Coroutine[Any, Any, None]
) -> None:
    """Watches several paths while ``work`` runs. A watch that fails ends the work."""
    watches = [asyncio.create_task(kube.watch(path, take)) for path, take in takers.items()]
    await asyncio.sleep(_OPENING_SECONDS)
    tasks = [*watches, asyncio.create_task(work)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
