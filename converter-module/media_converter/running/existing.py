"""Decides what an existing output means: the result of an earlier attempt, or another file.

The report of an earlier attempt may be lost. Then its mark on the file tells.
"""

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
            _check_beside(root, task, fd, digest)
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
    mark = own_mark(fd, task.output_file, task)
    if sha256(fd, runner.check) != mark.sha256:
        raise paths.output_exists(
            task.output_file, "this conversion has written it, but it was changed since"
        )
    return mark.sha256


def own_mark(fd: int, path: str, task: Task) -> publish.Mark:
    """The mark of a file that this conversion has written.

    Raises ConversionError if somebody else has written it, or if this cannot be told.
    """
    try:
        mark = publish.read_mark(fd)
    except OSError:
        raise paths.output_exists(
            path,
            "whether this conversion has written it cannot be told, because the volume has no "
            "extended attributes",
        ) from None
    if mark is None or mark.conversion_uid != task.conversion_uid:
        raise paths.output_exists(path, "this conversion has not written it")
    return mark


def _refuse_beside_of_others(root: int, task: Task) -> None:
    """Raise ConversionError if the second file of an output exists, and others have written it."""
    for path in task.files[1:]:
        fd = paths.open_existing_output(root, path)
        if fd is None:
            continue
        try:
            own_mark(fd, path, task)
        finally:
            os.close(fd)


def _check_beside(root: int, task: Task, output: int, digest: str) -> None:
    """Raise ConversionError unless the second file of an output was written for this content."""
    for path in task.files[1:]:
        fd = paths.open_existing_output(root, path)
        if fd is None:
            raise paths.output_exists(
                task.output_file, f"but {path}, which belongs to it, does not"
            )
        try:
            content = os.pread(fd, MAX_BESIDE_BYTES + 1, 0)
            if not publish.has_attributes(fd):
                # The output was recognised by its report, which does not tell about this file.
                if not _speaks_of(output, task, content):
                    raise paths.output_exists(path, f"its cues are not those of {task.output_file}")
            elif own_mark(fd, path, task).sha256 != publish.pair_digest(content, digest):
                raise paths.output_exists(path, f"it does not belong to {task.output_file}")
        finally:
            os.close(fd)


def _speaks_of(output: int, task: Task, content: bytes) -> bool:
    """Whether a WebVTT file has cues that point into the sprite."""
    from media_converter.planning.storyboard import lie_within, read_vtt  # most outputs have none

    image = still.measure(os.pread(output, os.fstat(output).st_size, 0))
    if image is None or len(content) > MAX_BESIDE_BYTES:
        return False
    name = task.output_file.rpartition("/")[2]
    return lie_within((image.width, image.height), name, read_vtt(content))


def _describe(fd: int, digest: str, task: Task, runner: Runner) -> Output:
    """The properties of a published output. It was verified before it was published."""
    if task.output_format == "json":
        return Output(sha256=digest, container="json")
    if task.output_format in FORMATS[ConversionType.IMAGE_RESIZE].values():
        image = still.measure(os.pread(fd, os.fstat(fd).st_size, 0))
        return Output(
            sha256=digest,
            container=task.output_format,
            video_codec=task.output_format,
            width=image.width if image else None,
            height=image.height if image else None,
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
