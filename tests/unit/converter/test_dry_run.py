"""A dry run plans the memory of what a run makes at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from media_converter import dry_run
from media_converter.contract import ConversionType, Output
from media_converter.files import paths
from media_converter.limits import Limits
from media_converter.planning import memory
from media_converter.planning.plan import MayCopy
from media_converter.planning.video import plan_video
from media_converter.running import survey, videos
from media_converter.running.run import Batch, Converted, Known, Run, hole_finder
from media_converter.running.transcode import Source
from media_converter.task import OutputFields, Task, task_for
from media_converter.typed_options import VideoOptions
from tests.unit.converter.builders import INFO, LISTED, VIDEO, FakeSignals, runner

MIB = 1 << 20
RESOLUTIONS = (720, 480, 240)
WANTED = [memory.EncodedVideo(size) for size in ((1280, 720), (854, 480), (426, 240))]
ENCODED = LISTED._replace(may_copy=MayCopy(video=False))


@pytest.fixture
def tasks(tmp_path: Path) -> tuple[Task, ...]:
    (tmp_path / "in.mov").write_bytes(b"the input")
    environment = {"INPUT_FILE": "in.mov", "CONVERSION_UID": "uid"}
    kind = ConversionType.VIDEO_TO_MP4
    return tuple(
        task_for(
            environment,
            OutputFields(kind, f"{height}.mp4", "mp4", VideoOptions(resolution=height)),
        )._replace(label=f"outputs[{number}]")
        for number, height in enumerate(RESOLUTIONS)
    )


def batches_of_run(
    tasks: tuple[Task, ...], limits: Limits, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> list[list[int]]:
    """The numbers of the outputs that a run encodes at the same time."""
    source = paths.open_input(paths.open_root(str(workspace)), "in.mov")
    machine, made = runner(FakeSignals(), 60, lambda: None), list[list[int]]()

    def record(batch: list[Any], _plans: object, _source: object) -> Batch:
        made.append([film.number for film in batch])
        return [(film.number, lambda: Converted(Output("", "mp4"))) for film in batch]

    def as_run(task: Task) -> Run:
        return Run(
            task=task,
            limits=limits,
            runner=machine,
            source=source,
            make_temporary=lambda: pytest.fail("nothing is written"),
            log=lambda line: None,
            on_progress=lambda progress: None,
            find_holes=hole_finder(source, machine),
            known=Known(),
        )

    found = Source(INFO, None)
    monkeypatch.setattr(videos, "_survey", lambda run: (VIDEO, found, ENCODED))
    monkeypatch.setattr(videos, "_run", record)
    runs: Iterator[Batch] = videos.convert_videos([as_run(task) for task in tasks])
    assert sorted(number for batch in runs for number, _ in batch) == [0, 1, 2]
    return made


@pytest.mark.parametrize(
    ("limit", "batches"),
    [
        (300, [[0, 1, 2]]),
        (214, [[0, 1], [2]]),
        (160, [[0, 2], [1]]),
        (132, [[0], [1, 2]]),
    ],
)
def test_the_planned_memory_is_that_of_the_videos_that_fit_together(
    tasks: tuple[Task, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: int,
    batches: list[list[int]],
) -> None:
    limits = Limits(1, limit * MIB)
    monkeypatch.setattr(survey, "probe", lambda run: INFO)
    monkeypatch.setattr(
        videos,
        "plan_only",
        lambda run: (plan_video(INFO, videos.options_of(run), limits, "FFFFFF", ENCODED), None),
    )
    machine = runner(FakeSignals(), 60, lambda: None)
    plans = dry_run.plan_outputs(tasks, limits, machine, str(tmp_path), lambda line: None)
    assert batches_of_run(tasks, limits, tmp_path, monkeypatch) == batches
    for batch in batches:
        needed = memory.share_threads(VIDEO, [WANTED[number] for number in batch], limits).needed
        assert [plans[number].memory for number in batch] == [needed] * len(batch)
