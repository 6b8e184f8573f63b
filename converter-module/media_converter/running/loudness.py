"""Measures the loudness of a stream by EBU R128."""

from __future__ import annotations

from collections.abc import Iterable

from media_converter.planning.loudness import measure_step
from media_converter.probing import decoded
from media_converter.probing.decoded import Loudness
from media_converter.probing.media import MediaInfo
from media_converter.running.process import Files
from media_converter.running.progress import Meter, max_plausible_duration
from media_converter.running.run import Run


def measure(
    run: Run,
    info: MediaInfo,
    stream_index: int,
    filters: Iterable[str] = (),
    input_options: Iterable[str] = (),
    fd: int | None = None,
) -> Loudness:
    """Measure a stream of the input, or of the file ``fd``. Raises ConversionError.

    The meter only ends a run that makes no progress or never ends: the conversion reports its own
    progress.
    """
    lines: list[str] = []
    step = measure_step(run.limits, stream_index, filters, input_options, deep=info.deep_probe)
    size_bytes = run.source.size_bytes if fd is None else info.size_bytes
    meter = Meter(None, lambda _: None, max_plausible_duration(info.duration, size_bytes))
    files = Files(run.source.fd if fd is None else fd)

    def add_line(line: str) -> None:
        if decoded.is_of_loudness(line):
            lines.append(line)

    result = run.run_tool(step, files, meter, on_error_line=add_line)
    found = decoded.loudness("\n".join(lines))
    if result.exit_code != 0 or found is None:
        raise run.explain_failure(step, result)
    return found
