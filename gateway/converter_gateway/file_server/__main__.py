"""``python -m converter_gateway.file_server`` serves the files of a volume until SIGTERM.

Its settings are environment variables: FILES_ROOT, FILES_PORT, POD_NAMESPACE, FILES_SECRET, which
is the folder with the secret, and FILES_FOLDER, which is the folder of the volume at FILES_ROOT.
The manifest takes the folder to mount from this variable, too.
"""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import Final

import uvicorn

from converter_gateway.file_server.app import FileServer
from converter_gateway.file_server.beneath import open_root
from converter_gateway.file_signature import mounted_folder, read_secret

# Many more than the requests that FileServer answers at once, so that probes are answered, too.
_MAX_CONNECTIONS: Final = 1024

logger = logging.getLogger(__name__)


def main() -> None:
    """Serve until SIGTERM. Raises OSError or ValueError if it is not clear what to serve."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO)
    namespace = os.environ.get("POD_NAMESPACE", "")
    folder = Path(os.environ.get("FILES_SECRET", "/etc/my-network-converter-files"))
    served = mounted_folder(os.environ.get("FILES_FOLDER", ""))
    root = open_root(os.environ.get("FILES_ROOT", "/files"))
    port = int(os.environ.get("FILES_PORT", "8001"))
    secret = partial(_read_secret, folder, namespace)
    if secret() is None:
        logger.warning("there is no secret of at least 16 bytes in %s: all requests fail", folder)
    uvicorn.run(
        FileServer(root, namespace, secret, served),
        host="0.0.0.0",  # noqa: S104  (a NetworkPolicy decides who can connect)
        port=port,
        http="h11",
        ws="none",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=20,
    )


def _read_secret(folder: Path, namespace: str) -> bytes | None:
    try:
        return read_secret(folder, namespace)
    except OSError as error:
        logger.warning("cannot read the secret: %s", error)
        return None


if __name__ == "__main__":
    main()
