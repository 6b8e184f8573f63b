"""The operator and the HTTP API of this source tree, each run as a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from tests.component.support.tools import write_kubeconfig

ROOT = Path(__file__).parents[2]


def operator_process(
    url: str, folder: Path, **environment: str
) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """Run the operator against the API server at ``url`` until the block ends.

    Its log is `operator.log` in ``folder``. ``environment`` holds further variables.
    """
    return _process("conversion_operator", url, folder / "operator.log", environment)


def gateway_process(
    url: str, folder: Path, **environment: str
) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """Run the HTTP API in the same way. Its log is `gateway.log` in ``folder``."""
    free = {"GATEWAY_METRICS_PORT": "0"}
    return _process("converter_gateway", url, folder / "gateway.log", free | environment)


@asynccontextmanager
async def _process(
    module: str, url: str, log_file: Path, environment: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    variables = {
        "KUBECONFIG": str(write_kubeconfig(log_file.with_suffix(".kubeconfig"), url)),
        "PYTHONPATH": os.pathsep.join(
            str(ROOT / part) for part in ("operator", "gateway", "converter-module")
        ),
    }
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module),
            env={**os.environ, **variables, **environment},
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            await asyncio.wait_for(process.wait(), 30)
