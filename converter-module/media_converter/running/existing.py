"""Decides what an existing output means: the result of an earlier attempt, or another file.

The report of an earlier attempt may be lost. Then its mark on the file tells.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from media_converter.contract import ConversionType, ExitReason, Output
from media_converter.errors import ConversionError
from media_converter.files import paths, publish, still
from media_converter.files.digest import sha256
from media_converter.files.paths import Input
from media_converter.options import FORMATS
from media_converter.probing import ffprobe
from media_converter.running.process import Files, Runner
from media_converter.task import Task

MAX_BESIDE_BYTES: Final = 1 << 22
"""Of the second file of an output. The converter writes no larger one."""


class Result(NamedTuple):
    """A finished output: its size, its probed properties, and warnings about its input."""

    size_bytes: int
    output: Output
    warnings: tuple[str, ...] = ()


def find_published(
    root: int, task: Task, runner: Runner, source: Input | None = None
) -> Result | None:
    """The output that an earlier attempt of this conversion has published.

    None if no file exists, or if it may be replaced. Raises ConversionError with the reason
    OutputExists for any other file, also if the second file of an output does not belong to it.
    One of several outputs that is older than ``source``, the
    input, is none either: the input was written since.
    """
    try:
        fd = paths.open_existing_output(root, task.output_file)
        if fd is None:
            if not task.overwrites:
                _refuse_beside_of_others(root, task)
            return None
        try:
            digest = _recognise(fd, task, runner, source)
            _check_beside(root, task, digest)
            return Result(os.fstat(fd).st_size, _describe(fd, digest, task, runner))
        finally:
            os.close(fd)
    except ConversionError as error:
        if task.overwrites and error.reason is ExitReason.OUTPUT_EXISTS:
            return None
        raise


def _recognise(fd: int, task: Task, runner: Runner, source: Input | None) -> str:
    """The sha256 of an output of this conversion. Raises ConversionError for other files."""
    if task.label and source and source.modified_ns > os.fstat(fd).st_mtime_ns:
        raise paths.output_exists(task.output_file, "the input was written since")
    if task.reported_sha256 and sha256(fd, runner.check) == task.reported_sha256:
        return task.reported_sha256
    try:
        mark = publish.read_mark(fd)
    except OSError:
        raise paths.output_exists(
            task.output_file,
            "whether this conversion has written it cannot be told, because the volume has no "
            "extended attributes",
        ) from None
    if mark is None or mark.conversion_uid != task.conversion_uid:
        raise paths.output_exists(task.output_file, "this conversion has not written it")
    if sha256(fd, runner.check) != mark.sha256:
        raise paths.output_exists(
            task.output_file, "this conversion has written it, but it was changed since"
        )
    return mark.sha256


def is_own(fd: int, task: Task) -> bool:
    """Whether the mark of a file says that this conversion has written it."""
    try:
        mark = publish.read_mark(fd)
    except OSError:
        return False
    return (
        mark is not None
        and bool(task.conversion_uid)
        and (mark.conversion_uid == task.conversion_uid)
    )


def not_own(path: str) -> ConversionError:
    """The ConversionError for a second file that somebody else has written."""
    return paths.output_exists(path, "this conversion has not written it")


def _refuse_beside_of_others(root: int, task: Task) -> None:
    """Raise ConversionError if the second file of an output exists, and others have written it."""
    for path in task.files[1:]:
        fd = paths.open_existing_output(root, path)
        if fd is None:
            continue
        try:
            if not is_own(fd, task):
                raise not_own(path)
        finally:
            os.close(fd)


def _check_beside(root: int, task: Task, digest: str) -> None:
    """Raise ConversionError unless the second file of an output was written for this content."""
    for path in task.files[1:]:
        fd = paths.open_existing_output(root, path)
        if fd is None:
            raise paths.output_exists(
                task.output_file, f"but {path}, which belongs to it, does not"
            )
        try:
            mark = publish.read_mark(fd) if is_own(fd, task) else None
            content = os.pread(fd, MAX_BESIDE_BYTES, 0)
            if mark is None or mark.sha256 != publish.pair_digest(content, digest):
                raise paths.output_exists(path, f"it does not belong to {task.output_file}")
        finally:
            os.close(fd)


def _describe(fd: int, digest: str, task: Task, runner: Runner) -> Output:
    """The properties of a published output. It was verified before it was published."""
    if task.output_format == "json":
        return Output(sha256=digest, container="json")
    if task.output_format in FORMATS[ConversionType.IMAGE_RESIZE].values():
        picture = still.measure(os.pread(fd, os.fstat(fd).st_size, 0))
        return Output(
            sha256=digest,
            container=task.output_format,
            video_codec=task.output_format,
            width=picture.width if picture else None,
            height=picture.height if picture else None,
        )
    found = ffprobe.parse(runner.run(ffprobe.step(), files=Files(fd)).stdout)
    video = found.video[0] if found and found.video else None
    return Output(
        sha256=digest,
        container=task.output_format,
        video_codec=video.codec if video else None,
        audio_codec=found.audio[0].codec if found and found.audio else None,
        width=video.width if video else None,
        height=video.height if video else None,
        duration_seconds=found.duration if found else None,
    )
