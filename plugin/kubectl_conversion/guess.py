"""What ``submit`` makes of a file name and ``--to``: conversion types, paths and names. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kubectl_conversion import data

_KINDS: Final = {
    "video": "3gp asf avi flv m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv rm ts vob webm wmv",
    "audio": "aac aiff aif amr ape flac m4a mp3 oga ogg opus wav wma",
    "image": "avif bmp gif heic heif jpeg jpg jxl png svg tif tiff webp",
}
"""The extensions that inputs of each kind usually have."""
_ALIASES: Final = {
    "thumbnail": "extract_thumbnail",
    "waveform": "audio_waveform",
    "info": "media_info",
    "storyboard": "video_storyboard",
    "preview": "video_to_preview",
}
_MEANT_FOR: Final = {
    "extract_thumbnail": ("video",),
    "audio_waveform": ("audio",),
    "image_resize": ("image",),
}
"""The kinds of input for which a type is meant, if several types write one extension. Other types
must be named."""
_SUFFIX: Final = {
    "extract_thumbnail": "_thumb",
    "audio_waveform": "_waveform",
    "media_info": "_info",
    "video_storyboard": "_storyboard",
    "video_to_preview": "_preview",
}
_OPTION: Final = re.compile(r"^([A-Za-z][A-Za-z0-9]*)=(.*)$", re.DOTALL)
_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9]+")
MAX_NAME: Final = 253


class UsageError(Exception):
    """The command cannot mean this."""


@dataclass(frozen=True, slots=True)
class Target:
    """One output: its conversion type and its path."""

    conversion_type: str
    path: str


def kind_of(file: str) -> str:
    """video, audio or image, by the extension. Empty if it is none that we know."""
    extension = extension_of(file)
    return next((kind for kind, known in _KINDS.items() if extension in known.split()), "")


def extension_of(file: str) -> str:
    """The extension in small letters, without the dot."""
    return posixpath.splitext(file)[1].lower().removeprefix(".")


def is_profile(word: str) -> bool:
    """Whether a word of ``--to`` is none of ours, so that it is the name of a profile."""
    return type_of(word, "") is None and not candidates(word.lower().removeprefix("."))


def candidates(extension: str) -> list[str]:
    """The conversion types whose output may have an extension."""
    types: Mapping[str, Any] = data.load()["types"]
    return [name for name, known in types.items() if extension in known["extensions"]]


def type_of(word: str, input_file: str) -> str | None:
    """The conversion type that a word of ``--to`` means for an input. None if it means none."""
    word = _ALIASES.get(word, word)
    if word in data.load()["types"]:
        return word
    found = candidates(word.lower().removeprefix("."))
    if len(found) <= 1:
        return found[0] if found else None
    kind = kind_of(input_file)
    plain = f"{kind}_to_{word.lower().removeprefix('.')}"
    if plain in found:
        return plain
    fitting = [name for name in found if kind in _MEANT_FOR.get(name, ())]
    # media_info fits any input, so another type is meant if one fits.
    fitting += [name for name in found if name == "media_info"]
    return fitting[0] if fitting else None


def type_of_output(input_file: str, output_file: str) -> str:
    """The conversion type that makes an output from an input."""
    extension = extension_of(output_file)
    found = type_of(extension, input_file) if extension else None
    if found is None:
        raise UsageError(
            f"cannot guess the conversion type from {output_file!r} and {input_file!r}: add --to "
            f"with one of {', '.join(data.load()['types'])}"
        )
    return found


def targets(
    input_file: str, words: Sequence[str], outputs: Sequence[str], folder: str
) -> list[Target]:
    """The outputs that a command line asks for."""
    if outputs and words and len(outputs) != len(words):
        raise UsageError("give one --output-file for each --to, in the same order")
    if outputs and folder:
        raise UsageError("give --output-file or --output-folder, but not both")
    if not words:
        return [Target(type_of_output(input_file, path), path) for path in outputs]
    made = []
    for number, word in enumerate(words):
        kind = type_of(word, input_file)
        if kind is None:
            raise UsageError(_ambiguous(word, input_file))
        path = outputs[number] if outputs else beside(input_file, kind, word, folder)
        made.append(Target(kind, path))
    return made


def _ambiguous(word: str, input_file: str) -> str:
    found = candidates(word.lower().removeprefix("."))
    return f"--to {word} can be {' or '.join(found)} for {input_file!r}: write one of these"


def beside(input_file: str, kind: str, word: str, folder: str) -> str:
    """The path of an output, beside the input or in a folder."""
    base, _ = posixpath.splitext(posixpath.basename(input_file))
    extension = word.lower().removeprefix(".")
    known = data.load()["types"][kind]["extensions"]
    if extension not in known:
        extension = known[0]
    into = folder.rstrip("/") if folder else posixpath.dirname(input_file)
    path = posixpath.join(into, f"{base}{_SUFFIX.get(kind, '')}.{extension}")
    if _same(path, input_file):
        path = posixpath.join(into, f"{base}-converted.{extension}")
    return path


def _same(first: str, second: str) -> bool:
    return posixpath.normpath(first.lstrip("/")) == posixpath.normpath(second.lstrip("/"))


def read_options(texts: Sequence[str]) -> dict[str, str]:
    """``--option k=v`` as a mapping. The API server checks the values."""
    read = {}
    for text in texts:
        match = _OPTION.match(text)
        if match is None:
            raise UsageError(f"--option {text!r} is not NAME=VALUE, such as quality=high")
        read[match[1]] = match[2]
    return read


def options_for(kind: str, options: Mapping[str, str]) -> dict[str, str]:
    """Those of the options that a conversion type has."""
    return {
        name: text
        for name, text in options.items()
        if name in data.load()["types"][kind]["options"]
    }


def check_options(kinds: Sequence[str], options: Mapping[str, str]) -> None:
    """Raise UsageError if none of the conversion types has one of the options."""
    types: Mapping[str, Any] = data.load()["types"]
    for name in options:
        if not any(name in types[kind]["options"] for kind in kinds):
            known = sorted({each for kind in kinds for each in types[kind]["options"]})
            raise UsageError(
                f"{' and '.join(dict.fromkeys(kinds))} has no option {name!r}; it has "
                f"{', '.join(known) or 'none'}"
            )


def object_name(file: str, suffix: str) -> str:
    """A name for a ConversionJob, made of a file name and a suffix."""
    base = _NOT_IN_NAMES.sub("-", posixpath.splitext(posixpath.basename(file))[0].lower())
    return f"{base[:50].strip('-') or 'conversion'}-{suffix}"
