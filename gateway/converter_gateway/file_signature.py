"""How the HTTP API and a file server prove to each other who they are.

Both know a secret. The API signs each request for a file, and the file server signs its answer. A
signature is valid for one file, one range, one folder of the volume, one namespace and a short
time.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Final, NamedTuple

VALID_SECONDS: Final = 30
"""How long a signature is valid. The clocks of two nodes may differ by a part of it."""
MIN_SECRET_BYTES: Final = 16

FILE_PATH: Final = "/file"
EXPIRES: Final = "x-expires"
SIGNATURE: Final = "x-signature"
PROOF: Final = "x-proof"
FILE_SIZE: Final = "x-file-size"


class FileRequest(NamedTuple):
    """A request for a file.

    ``path`` is from the root of what the file server serves. ``byte_range`` is the header Range, ""
    without one. ``expires`` is a Unix time. ``folder`` is the folder of the volume that the
    namespace's converters see as the root, "" for the whole volume: both sides know it, and it is
    not sent.
    """

    namespace: str
    folder: str
    path: str
    byte_range: str
    expires: int


def folder_of(setting: str, namespace: str) -> str:
    """The folder of a namespace, by the setting CONVERTER_VOLUME_FOLDER. "": the whole volume."""
    return setting.strip().strip("/").replace("{namespace}", namespace)


def mounted_folder(variable: str) -> str:
    """The folder of the volume that the variable FILES_FOLDER says. "": the whole volume.

    The kubelet mounts this folder: it is the ``subPathExpr`` of the mount. So the text must mean
    to us what it means to the kubelet. Raises ValueError if it does not. An empty text means that
    the mount may be any folder, because the kubelet refuses to expand it.
    """
    if variable == ".":
        return ""
    parts = variable.split("/")
    if not all(parts) or {".", ".."} & set(parts) or "{" in variable or "$" in variable:
        raise ValueError(
            f"FILES_FOLDER is {variable!r}: write a dot for the whole volume, or a folder of it "
            "without a slash at its ends, with $(POD_NAMESPACE) for {namespace}"
        )
    return variable


def sign(secret: bytes, request: FileRequest) -> str:
    """The signature of a request, in hexadecimal."""
    # JSON-free and unambiguous: each part is preceded by its length.
    parts = (
        *(request.namespace, request.folder),
        *(request.path, request.byte_range, str(request.expires)),
    )
    return _digest(secret, b"GET", *(part.encode() for part in parts))


def is_valid(secret: bytes, request: FileRequest, signature: str, now: float) -> bool:
    """Whether the signature is that of the request, and the request has not expired."""
    # Another signature must take the same time, whatever is wrong with it.
    matches = hmac.compare_digest(sign(secret, request).encode(), signature.encode())
    return matches and now <= request.expires <= now + 2 * VALID_SECONDS


def prove(secret: bytes, signature: str, size: str) -> str:
    """What the answer to a signed request has as X-Proof. ``size`` is its X-File-Size, or ""."""
    return _digest(secret, b"answer", signature.encode(), size.encode())


def is_proof(secret: bytes, signature: str, size: str, proof: str) -> bool:
    """Whether an answer is from who knows the secret."""
    return hmac.compare_digest(prove(secret, signature, size).encode(), proof.encode())


def read_secret(folder: Path, namespace: str) -> bytes | None:
    """The secret of a namespace: the file ``secret.NAMESPACE`` in ``folder``, or else ``secret``.

    None if there is none, or if it is too short. If the file of the namespace is too short, the
    common secret does not replace it. Raises OSError for a file that exists but cannot be read.
    """
    for name in (f"secret.{namespace}", "secret"):
        try:
            secret = (folder / name).read_bytes().strip()
        except FileNotFoundError:
            continue
        return secret if len(secret) >= MIN_SECRET_BYTES else None
    return None


def _digest(secret: bytes, *parts: bytes) -> str:
    text = b"".join(b"%d:%b" % (len(part), part) for part in parts)
    return hmac.new(secret, text, hashlib.sha256).hexdigest()
