"""Which files of a conversion a caller may have, and how they are called. Pure functions.

Nothing here comes from a request but the numbers of an attempt and of an output.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from conversion_operator.api.spec import normal_path
from conversion_operator.api.status import Phase
from conversion_operator.cluster.conversions import Conversion
from converter_gateway.outputs import outputs_of
from converter_gateway.translate import phase_of
from media_converter.contract import OutputState
from media_converter.forbidden_paths import LOG_FOLDER
from media_converter.options import output_files

_UID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._ -]")
_CONTENT_TYPES: Final = MappingProxyType(
    {
        "mp4": "video/mp4",
        "webm": "video/webm",
        "mp3": "audio/mpeg",
        "m4a": "audio/mp4",
        "opus": "audio/ogg",
        "ogg": "audio/ogg",
        "flac": "audio/flac",
        "wav": "audio/wav",
        "jpeg": "image/jpeg",
        "png": "image/png",
        "webp": "image/webp",
        "avif": "image/avif",
        "gif": "image/gif",
        "jxl": "image/jxl",
        "json": "application/json",
    }
)
"""By ``container`` of the status: what the converter has found in the file it wrote."""
OTHER: Final = "application/octet-stream"
VTT: Final = "text/vtt; charset=utf-8"


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that a conversion has made. ``path`` is from the root of the volume."""

    path: str
    size: int
    sha256: str
    content_type: str

    @property
    def etag(self) -> str:
        """The header ETag."""
        return f'"{self.sha256}"'

    @property
    def disposition(self) -> str:
        """The header Content-Disposition."""
        return disposition(self.path, self.content_type)


def disposition(path: str, content_type: str) -> str:
    """The header Content-Disposition. A browser shows media, and saves everything else."""
    kind = "inline" if content_type.startswith(("image/", "audio/", "video/")) else "attachment"
    name = path.rpartition("/")[2]
    plain = _NOT_IN_NAMES.sub("_", name)
    encoded = quote(name.encode("utf-8", "replace"), safe="")
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{encoded}"


def log_path(conversion: Conversion, attempt: int) -> str | None:
    """The path of the log of an attempt, from the root of the volume. None: it cannot have one."""
    uid = conversion.key.uid
    return f"/{LOG_FOLDER}/{uid}/{attempt}.log" if _UID.fullmatch(uid) else None


def last_attempt(conversion: Conversion) -> int:
    """The number of the last attempt. 0: there was none."""
    attempts = conversion.status.attempts if conversion.status else None
    return max((attempt.number for attempt in attempts or ()), default=0)


def output_file(conversion: Conversion, index: int) -> OutputFile | None:
    """An output that the status reports as made. None if it has not been made."""
    specs, status = outputs_of(conversion), conversion.status
    if conversion.dry_run or status is None or not 0 <= index < len(specs):
        return None
    path = normal_path(specs[index].output_file)
    if conversion.has_output_list:
        found = (status.outputs or [])[index : index + 1]
        if not found or found[0].state is not OutputState.SUCCEEDED:
            return None
        size, sha256, container = found[0].size, found[0].sha256, found[0].container
    else:
        facts = status.output
        if facts is None or phase_of(conversion) is not Phase.SUCCEEDED:
            return None
        size, sha256, container = status.output_size, facts.sha256, facts.container
    if size is None or sha256 is None:
        return None
    return OutputFile(path, size, sha256, _CONTENT_TYPES.get(container or "", OTHER))


def vtt_path(conversion: Conversion, index: int) -> str | None:
    """The path of the WebVTT file of a storyboard that has been made. None if there is none.

    The converter publishes it with the storyboard. The status says nothing else about it.
    """
    made = output_file(conversion, index)
    if made is None:
        return None
    found = output_files(outputs_of(conversion)[index].conversion_type, made.path)
    return found[1] if len(found) > 1 else None
