"""Makes a storyboard: scan the video, fill in what the scan did not find, encode, verify."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final

from media_converter.contract import INPUT_FAULTS, ExitReason, Output
from media_converter.errors import ConversionError
from media_converter.files import bmp, png, still
from media_converter.files.bmp import Bitmap
from media_converter.files.digest import sha256
from media_converter.planning.plan import Expected, Position
from media_converter.planning.storyboard import (
    BYTES_PER_PIXEL,
    Scan,
    Storyboard,
    check_memory,
    frame_step,
    is_right,
    means_step,
    plan_storyboard,
    read_vtt,
    scan_step,
    sprite_step,
    time_of_frame,
    write_vtt,
)
from media_converter.planning.video_choice import choose_video, refuse_if_needs_dolby_vision
from media_converter.probing import holes
from media_converter.probing.chain import Hole
from media_converter.probing.codecs import INTRA_ONLY_CODECS
from media_converter.probing.decoded import Decoded, LogReader
from media_converter.running import damage, image, survey, verify
from media_converter.running.process import Files, ProcessResult
from media_converter.running.progress import Meter, max_plausible_duration
from media_converter.running.run import Converted, Run
from media_converter.step import Step
from media_converter.typed_options import StoryboardOptions

_MANY: Final = 0.5
"""If more than this share of the frames is missing, the whole video is decoded."""
_MAX_MEAN_DIFFERENCE: Final = 12
"""Of 255, between a frame and its image in the sprite."""


def write_storyboard(run: Run, options: StoryboardOptions) -> Converted:
    """Write the sprite. The WebVTT file is part of the result."""
    scan, board = prepare(run, options)
    run.log(board.summary)
    maker = _SpriteMaker(run, scan, board)
    try:
        maker.read()
        warnings = board.warnings + maker.judge()
        for warning in warnings:
            run.log(warning)
        return Converted(maker.encode(), warnings, _vtt(run, board))
    finally:
        maker.close()


def prepare(run: Run, options: StoryboardOptions) -> tuple[Scan, Storyboard]:
    """What to read and what to make. Raises ConversionError."""
    info = survey.probe(run)
    video = choose_video(info)
    refuse_if_needs_dolby_vision(video)
    duration = survey.video_duration(run, info, video)
    board = plan_storyboard(duration, video, options, run.task.output_format)
    check_memory(video, board, run.limits)
    return Scan(info, video, run.task.background, run.limits), board


def _vtt(run: Run, board: Storyboard) -> bytes:
    name = run.task.output_file.rpartition("/")[2]
    text = write_vtt(board, name)
    if not is_right(board, name, read_vtt(text)):
        raise ConversionError(
            ExitReason.INTERNAL_ERROR, "the cues do not cover the video; report this"
        )
    return text


class _SpriteMaker:
    """The frames of a video that were found so far. They are in memory, as the pixels of a TIFF.

    libvips reads the TIFF, so that no format that loses detail is between decoder and encoder.
    """

    def __init__(self, run: Run, scan: Scan, board: Storyboard) -> None:
        self._run = run
        self._scan = scan
        self._board = board
        width, height = board.sprite
        header = bmp.tiff_header(Bitmap(width, height), with_alpha=False)
        self._header = len(header)
        self._sprite = os.memfd_create("sprite", os.MFD_CLOEXEC)
        self._decoded = os.memfd_create("frames", os.MFD_CLOEXEC)
        os.ftruncate(self._sprite, self._header + BYTES_PER_PIXEL * width * height)
        os.pwrite(self._sprite, header, 0)
        self._means: dict[int, tuple[float, ...]] = {}
        self._own: set[int] = set()
        self._errors = ""
        self._losses: tuple[damage.Loss, ...] = ()

    def close(self) -> None:
        """Free the memory."""
        os.close(self._sprite)
        os.close(self._decoded)

    def read(self) -> None:
        """Find all frames. Raises ConversionError if there is none."""
        if self._scan.video.codec not in INTRA_ONLY_CODECS:
            self._read_through("nokey")
            if len(self._missing()) > _MANY * self._board.images:
                self._read_through("noref")
        self._read_single()
        found = sorted(self._means)
        if not found:
            raise ConversionError(
                ExitReason.INPUT_DAMAGED, "no frame can be decoded; upload the file again"
            )
        for number in self._missing():
            # A player still shows the frame before it.
            before = [other for other in found if other < number]
            self._put(number, self._get(before[-1] if before else found[0]))

    def _missing(self) -> list[int]:
        return [number for number in range(self._board.images) if number not in self._means]

    def _read_through(self, skip: str) -> None:
        """Read the video from start to end, and keep the first frame of each part."""
        run, length = self._run, self._board.times[-1] / 1000
        longest = max_plausible_duration(length, run.source.size_bytes)
        meter = Meter(length, run.on_progress, longest)
        step = scan_step(self._scan, self._board, skip)
        times, log, result = self._decode(step, meter)
        if result.exit_code != 0:
            raise run.explain_failure(step, result)
        decoded = log.result()
        if "video" in decoded.reconfigured and not self._scan.size_varies:
            self._scan = self._scan._replace(size_varies=True)
            self._means.clear()
            self._read_through(skip)
            return
        self._errors = result.stderr
        self._losses = (_loss(decoded, self._scan.video.stream_index),)
        for place, time in enumerate(times):
            number = self._board.part_of(time - self._scan.origin)
            if number not in self._means:
                self._put(number, self._pixels(place))
            self._own.add(number)

    def _read_single(self) -> None:
        """Read each frame that is still missing from the keyframe before it."""
        run, scan, board = self._run, self._scan, self._board
        last: tuple[int, Position] | None = None
        for number in self._missing():
            time = board.times[number] / 1000
            position = survey.find_position(run, scan.info, scan.video, time)
            if (
                last
                and position.frame_time is not None
                and position.frame_time == last[1].frame_time
            ):
                self._put(number, self._get(last[0]))
                continue
            step = frame_step(scan, board, position)
            times, _, result = self._decode(step)
            if result.exit_code != 0:
                failure = run.explain_failure(step, result)
                if failure.reason not in INPUT_FAULTS:
                    raise failure
                self._errors += result.stderr
            if times:
                self._put(number, self._pixels(0))
                last = number, position
                end = (position.frame_time or 0.0) + position.frame_duration
                if position.frame_time is None or end > time:
                    self._own.add(number)

    def _decode(
        self, step: Step, meter: Meter | None = None
    ) -> tuple[list[float], LogReader, ProcessResult]:
        """Run ffmpeg. Returns the times of the frames that it has written to memory."""
        times: list[float] = []
        log = LogReader()

        def add_line(line: str) -> None:
            log.add_line(line)
            time = time_of_frame(line)
            if time is not None:
                times.append(time)

        os.ftruncate(self._decoded, 0)
        files = Files(self._run.source.fd, self._decoded)
        result = self._run.run_tool(step, files, meter, on_error_line=add_line)
        written = os.fstat(self._decoded).st_size // self._board.tile_bytes
        return times[:written], log, result

    def _pixels(self, place: int) -> bytes:
        """One of the frames that ffmpeg has written."""
        size = self._board.tile_bytes
        return os.pread(self._decoded, size, place * size)

    def _rows(self, number: int) -> Iterator[tuple[int, int]]:
        """Where each row of a frame is in the TIFF, and where in the frame."""
        left, top = self._board.place(number)
        (width, height), whole = self._board.tile, self._board.sprite[0]
        for row in range(height):
            at = self._header + BYTES_PER_PIXEL * ((top + row) * whole + left)
            yield at, BYTES_PER_PIXEL * row * width

    def _put(self, number: int, pixels: bytes) -> None:
        row_bytes = BYTES_PER_PIXEL * self._board.tile[0]
        for at, begin in self._rows(number):
            os.pwrite(self._sprite, pixels[begin : begin + row_bytes], at)
        self._means[number] = tuple(
            sum(pixels[band::BYTES_PER_PIXEL]) * BYTES_PER_PIXEL / len(pixels)
            for band in range(BYTES_PER_PIXEL)
        )

    def _get(self, number: int) -> bytes:
        row_bytes = BYTES_PER_PIXEL * self._board.tile[0]
        return b"".join(os.pread(self._sprite, row_bytes, at) for at, _ in self._rows(number))

    def judge(self) -> tuple[str, ...]:
        """The warnings about a damaged input. Raises ConversionError if too much is lost."""
        run, info, limits = self._run, self._scan.info, self._run.task.damage
        lost = [number for number in range(self._board.images) if number not in self._own]
        size, found = run.source.size_bytes, tuple[Hole, ...]()
        if lost:
            # A part without a frame of its own is no fault, unless the file lacks something.
            found = run.find_holes(None)
            listing = survey.list_part(run, info, self._scan.video.stream_index, None)
            if found and (loss := damage.hole_loss(found, listing, 0, size)):
                self._losses = (*self._losses, loss)
        warnings = damage.judge(self._losses, limits)
        end = self._board.times[1 + max(self._own, default=-1)] / 1000
        read = info._replace(duration=end, video=(), audio=())
        expected = Expected("", duration=self._board.times[-1] / 1000)
        missing = run.missing_bytes() or holes.missing_bytes(found, size)
        _, short = verify.check_media(read, expected, missing, self._errors, limits)
        return warnings + short

    def encode(self) -> Output:
        """Write the sprite, and verify it."""
        run, board = self._run, self._board
        os.ftruncate(self._decoded, 0)
        output, step = run.make_temporary().fd, sprite_step(board)
        result = image.run_image_tool(run, step, Files(self._sprite, output))
        if result.exit_code != 0:
            raise run.explain_failure(step, result)
        expected = Expected(board.output_format, size=board.sprite)
        data = os.pread(output, os.fstat(output).st_size, 0)
        verify.check_image(still.measure(data), expected)
        self._check_images(output)
        return Output(
            sha256=sha256(output, run.runner.check),
            container=board.output_format,
            video_codec=board.output_format,
            width=board.sprite[0],
            height=board.sprite[1],
        )

    def _check_images(self, output: int) -> None:
        """Decode the sprite, and compare the mean colour of each image."""
        result = image.run_image_tool(self._run, means_step(self._board), Files(output))
        small = png.decode(result.stdout) if result.exit_code == 0 else None
        if small is None:
            raise verify.not_readable("cannot be read back")
        for number, wanted in self._means.items():
            row, column = divmod(number, self._board.columns)
            at = 4 * (row * small.width + column)
            shown = small.rgba[at : at + BYTES_PER_PIXEL]
            if not is_like(shown, wanted):
                raise ConversionError(
                    ExitReason.VERIFICATION_FAILED,
                    f"the output was discarded: image {number} of the storyboard is not that of "
                    "the video; convert the input to a common format first",
                )


def is_like(shown: Sequence[float], wanted: Sequence[float]) -> bool:
    """Whether the mean colours of two frames are the same, but for the loss of an encoder."""
    return len(shown) == len(wanted) and all(
        abs(a - b) <= _MAX_MEAN_DIFFERENCE for a, b in zip(shown, wanted, strict=True)
    )


def _loss(decoded: Decoded, stream_index: int) -> damage.Loss:
    """The loss of the frames that were to be decoded. Others were skipped."""
    counts = decoded.streams.get(stream_index)
    if counts is not None:
        counts = counts._replace(packets=(counts.frames or 0) + counts.errors)
    return damage.loss("frames", counts, decoded.corrupt, 0)
