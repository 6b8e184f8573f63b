"""The operator of this source tree, run as a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.component.support.tools import write_kubeconfig

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def operator_process(
    url: str, folder: Path, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the operator against the API server at ``url`` until the block ends.

    Its log is `operator.log` in ``folder``. ``environment`` holds further variables.
    """
    variables = {
        "KUBECONFIG": str(write_kubeconfig(folder / "kubeconfig", url)),
        "PYTHONPATH": os.pathsep.join(
            str(ROOT / part) for part in ("operator", "converter-module")
        ),
    }
    with (folder / "operator.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "conversion_operator"),
            env=os.environ | variables | environment,
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            await asyncio.wait_for(process.wait(), 30)
