"""Plans the measurement of loudness by EBU R128."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from media_converter.limits import Limits
from media_converter.planning.plan import PROGRESS, ffmpeg_command
from media_converter.step import Stdout, Step

_MEASURE: Final = "ebur128=peak=true:framelog=quiet"
"""The filter that measures. ffmpeg prints the result at its end."""


def measure_step(
    limits: Limits,
    stream_index: int,
    filters: Iterable[str],
    input_options: Iterable[str],
    *,
    deep: bool,
) -> Step:
    """Build the step that measures a stream after ``filters``."""
    argv = ffmpeg_command(limits, input_options, deep_probe=deep)
    argv += ["-map", f"0:{stream_index}", "-af", ",".join([*filters, _MEASURE])]
    return Step("loudness", (*argv, *PROGRESS, "-f", "null", "-"), Stdout.PROGRESS)
