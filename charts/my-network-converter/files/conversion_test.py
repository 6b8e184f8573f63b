"""The conversion of `helm test`: makes a small image, converts it, and looks at the result.

It runs in the operator's image, in a namespace of conversions, with the shared volume. It uses only
the standard library. All it needs is in environment variables, see templates/tests/conversion.yaml.
"""

from __future__ import annotations

import json
import os
import ssl
import struct
import sys
import time
import urllib.error
import urllib.request
import zlib
from http import HTTPStatus
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PATH = "/apis/converter.mynetwork.io/v1alpha1/namespaces/{namespace}/conversionjobs"


class Failure(Exception):
    """The test has failed. The message says why, and what to do."""


def request(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The response of the API server."""
    server = os.environ.get("API_SERVER", "https://kubernetes.default.svc")
    headers = {"Content-Type": "application/json"}
    context = None
    if server.startswith("https:"):
        headers["Authorization"] = f"Bearer {(ACCOUNT / 'token').read_text()}"
        context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    data = None if body is None else json.dumps(body).encode()
    sent = urllib.request.Request(server + path, data, headers, method=method)  # noqa: S310
    with urllib.request.urlopen(sent, timeout=15, context=context) as response:  # noqa: S310
        answer: dict[str, Any] = json.load(response)
        return answer


def image(side: int) -> bytes:
    """A PNG with a gradient."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    step = 255 // (side - 1)
    rows = b"".join(
        b"\0" + bytes(v for x in range(side) for v in (x * step, y * step, 128))
        for y in range(side)
    )
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def write_input(file: Path) -> None:
    """Put the image on the volume."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image(64))
    except OSError as error:
        raise Failure(
            f"user {os.getuid()} cannot write to {file.parent}: {error.strerror}. Make the folder "
            f"writable for user or group {os.getgid()}, or set the value test.folder"
        ) from error


def create(collection: str, body: dict[str, Any], deadline: float) -> None:
    """Create the ConversionJob. A new ResourceQuota rejects it for up to five minutes."""
    while True:
        try:
            request("POST", collection, body)
            return
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            if "status unknown for quota" not in text or time.monotonic() > deadline:
                raise Failure(f"the API server rejects the ConversionJob: {text}") from error
        print("waiting until Kubernetes has counted the objects of the ResourceQuota", flush=True)
        time.sleep(2)


def wait(path: str, deadline: float) -> dict[str, Any]:
    """The status at the end of the conversion."""
    shown = ""
    while True:
        status: dict[str, Any] = request("GET", path).get("status", {})
        line = " ".join(status.get(key, "") for key in ("phase", "reason", "message")).strip()
        if line != shown:
            print(line, flush=True)
            shown = line
        if status.get("phase") in ("Succeeded", "Failed", "Cancelled"):
            return status
        if time.monotonic() > deadline:
            raise Failure(
                f"the conversion has not ended in time. It is {line or 'without a status'}"
            )
        time.sleep(1)


def test(name: str, folder: str, root: Path, collection: str, deadline: float) -> None:
    """Convert the image, and compare the file with the status."""
    source, target = (str(Path(folder, f"{name}.{end}")) for end in ("png", "webp"))
    spec = {
        "conversionType": "image_resize",
        "inputFile": source,
        "outputFile": target,
        "options": {"size": "32x32"},
    }
    body = {
        "apiVersion": "converter.mynetwork.io/v1alpha1",
        "kind": "ConversionJob",
        "metadata": {"name": name},
        "spec": spec,
    }
    try:
        write_input(root / source)
        create(collection, body, deadline)
        status = wait(f"{collection}/{name}", deadline)
        if status["phase"] != "Succeeded":
            raise Failure(f"the conversion is {status['phase']}: {status.get('message', '')}")
        size = (root / target).stat().st_size if (root / target).exists() else None
        if size != status["outputSize"]:
            raise Failure(
                f"the conversion has succeeded, but this pod sees no such file at {target}. Does "
                "the claim of the shared volume belong to the same volume on each node?"
            )
    finally:
        remove(f"{collection}/{name}", root / source, root / target)


def remove(path: str, *files: Path) -> None:
    """Delete what the test has made."""
    try:
        request("DELETE", path)
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.NOT_FOUND:
            print(f"the ConversionJob was not deleted: {error}", flush=True)
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            print(f"{file} was not deleted: {error}", flush=True)


def main() -> None:
    """Exit with a message if the test fails."""
    namespace = os.environ["NAMESPACE"]
    folder = os.environ["VOLUME_FOLDER"].strip("/").replace("{namespace}", namespace)
    try:
        test(
            os.environ["NAME"],
            os.environ["FOLDER"],
            Path(os.environ["VOLUME"], folder),
            PATH.format(namespace=namespace),
            time.monotonic() + float(os.environ["TIMEOUT_SECONDS"]),
        )
    except Failure as failure:
        sys.exit(f"failed: {failure}")
    print("the conversion has succeeded, and its file is on the volume")


if __name__ == "__main__":
    main()
