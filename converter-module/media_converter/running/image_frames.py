"""Cuts the frames of an animation, which libvips keeps as one tall image."""

from __future__ import annotations

import os
from typing import Final

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.files import vips_file
from media_converter.files.vips_file import Roll
from media_converter.files.write import write_all
from media_converter.planning.image import frame_part_step
from media_converter.planning.image_fit import Fit, offset, position
from media_converter.probing.media import ImageInfo
from media_converter.running.process import Files
from media_converter.running.run import Run

_ENDS: Final = ("low", "high", "centre")


def cut_frames(run: Run, info: ImageInfo, fit: Fit, gravity: str, pixels: int) -> int:
    """A file that libvips reads, with the frames cut alike. ``pixels`` has those of all frames."""
    width, height = fit.scaled
    bands, rest = divmod(os.fstat(pixels).st_size, width * height * info.pages)
    if rest or not 1 <= bands <= 4:
        raise ConversionError(
            ExitReason.INPUT_DAMAGED,
            f"the animation has not the {info.pages} frames that its header says; repair it or "
            "upload it again",
        )
    where = position(fit, gravity)
    first = os.pread(pixels, width * height * bands, 0)
    if where in _ENDS:
        left, top = offset(fit, where)
    else:
        left, top = _found(run, fit, where, bands, first)
    kept_width, kept_height = fit.size
    roll = Roll(kept_width, kept_height, bands, info.pages, info.delays, info.loop)
    made = os.memfd_create("frames", os.MFD_CLOEXEC)
    write_all(made, vips_file.header(roll))
    for frame in range(info.pages):
        data = os.pread(pixels, width * height * bands, frame * width * height * bands)
        for row in range(top, top + kept_height):
            start = (row * width + left) * bands
            write_all(made, data[start : start + kept_width * bands])
    write_all(made, vips_file.metadata(roll))
    return made


def _found(run: Run, fit: Fit, where: str, bands: int, first: bytes) -> tuple[int, int]:
    """Where libvips cuts the first frame: column and row. It tells only what remains."""
    width, height = fit.scaled
    kept_width, kept_height = fit.size
    still = Roll(width, height, bands, 1)
    source, part = (os.memfd_create(name, os.MFD_CLOEXEC) for name in ("frame", "part"))
    try:
        write_all(source, vips_file.header(still) + first + vips_file.metadata(still))
        step = frame_part_step(fit.size, where)
        result = run.run_tool(step, Files(source, part))
        if result.exit_code != 0:
            raise run.explain_failure(step, result)
        wanted = os.pread(part, kept_width * kept_height * bands, 0)
    finally:
        os.close(source)
        os.close(part)
    line = kept_width * bands

    def fits(left: int, top: int) -> bool:
        return all(
            first[(start := ((top + row) * width + left) * bands) : start + line]
            == wanted[row * line : (row + 1) * line]
            for row in range(kept_height)
        )

    places = (
        (left, top)
        for left in range(width - kept_width + 1)
        for top in range(height - kept_height + 1)
    )
    return next((place for place in places if fits(*place)), offset(fit, "centre"))
