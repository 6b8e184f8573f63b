"""Threads, memory and time stay within the limits of the container, whatever the machine has."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator

import pytest

from media_converter.contract import ConversionType, ExitReason
from tests.converter.containers import MODULES_PATH, RESTRICTED, Agent, Image
from tests.converter.harness import AUDIO, IMAGE, THUMB, VIDEO, Case, Converter, Run
from tests.converter.kitchen import X264, Kitchen, tone, video
from tests.converter.lab import Lab
from tests.converter.rawfiles import RGB, png
from tests.converter.recipes import long_video, photo


def limited(image: Image, kitchen: Kitchen, memory: str, cpus: str = "1") -> Agent:
    other = [flag for flag in RESTRICTED if not flag.startswith(("--memory", "--cpus"))]
    limits = (f"--memory={memory}", f"--memory-swap={memory}", f"--cpus={cpus}")
    return image.agent(*other, *limits, f"--volume={kitchen.workspace.root}:/workspace")


@pytest.fixture(scope="module")
def half_gib(image: Image, kitchen: Kitchen) -> Iterator[Converter]:
    with limited(image, kitchen, "512m") as agent:
        yield Converter(agent, kitchen.workspace, image.entrypoint)


def measured(converter: Converter, case: Case, tasks: int = 16) -> Run:
    run = converter.run(case, sample=True)
    assert run.ended.peak_tasks is not None
    assert run.ended.peak_tasks <= tasks, (
        "the thread count depends on the machine, not on the limit"
    )
    return run


def peak_mib(run: Run) -> float:
    assert run.ended.peak_kib is not None
    return run.ended.peak_kib / 1024


def hd(kitchen: Kitchen) -> str:
    return kitchen.ffmpeg(
        "hd.mkv", *video("1920x1080", 30, 2), *tone(seconds=2), "-c:v", "mpeg4", "-q:v", "3",
        "-c:a", "flac",
    )  # fmt: skip


@pytest.mark.parametrize("options", [{"quality": "medium"}, {"resolution": "720p"}], ids=str)
def test_full_hd_in_half_a_gib(
    kitchen: Kitchen, half_gib: Converter, lab: Lab, options: dict[str, object]
) -> None:
    folder = half_gib.workspace.scratch("hd")
    run = measured(half_gib, Case(VIDEO, hd(kitchen), f"{folder}/out.mp4", options))
    assert run.output, run.report.message
    assert peak_mib(run) < 400
    height = 720 if "resolution" in options else 1080
    assert lab.media(run.path).size[1] == height
    assert lab.frames(run.path) == 60


def test_a_hundred_megapixels_in_half_a_gib(
    kitchen: Kitchen, half_gib: Converter, lab: Lab
) -> None:
    source = huge(kitchen, "108mp.jpg", "")
    folder = half_gib.workspace.scratch("108mp")
    run = measured(half_gib, Case(IMAGE, source, f"{folder}/out.jpg"))
    # It is shrunk while it is decoded.
    assert lab.image(run.path).size == (800, 600)
    assert peak_mib(run) < 400


HUGE = {
    "108mp.jpg": "",
    "108mp.png": "[compression=1]",
    "108mp.webp": "[Q=70,effort=0]",
    "108mp.tif": "[compression=deflate,tile]",
}


@pytest.fixture(scope="module")
def quarter_gib(image: Image, kitchen: Kitchen) -> Iterator[Converter]:
    with limited(image, kitchen, "256m") as agent:
        yield Converter(agent, kitchen.workspace, image.entrypoint)


def huge(kitchen: Kitchen, name: str, save: str) -> str:
    """12000x9000, without noise, which would only take longer to compress."""
    tile = kitchen.ffmpeg(
        "pattern-1500.png", *video("1500x1500"), "-frames:v", "1", "-pix_fmt", "rgb24"
    )
    return kitchen.vips(name, "replicate", tile, "--", "8", "6", save=save, limit=240)


@pytest.mark.parametrize(("name", "save"), HUGE.items())
def test_a_hundred_megapixels_in_a_quarter_of_a_gib(
    kitchen: Kitchen, quarter_gib: Converter, lab: Lab, name: str, save: str
) -> None:
    folder = quarter_gib.workspace.scratch("huge")
    case = Case(IMAGE, huge(kitchen, name, save), f"{folder}/out.jpg", {"size": "300x300"})
    run = measured(quarter_gib, case)
    assert lab.image(run.path).size == (300, 225)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("108mp-p.jpg", "[interlace]"),
        ("108mp-lossless.webp", "[lossless,effort=0]"),
        ("108mp-tiles.tif", "[compression=deflate,tile,tile-width=4096,tile-height=4096]"),
    ],
)
def test_what_a_loader_keeps_is_known(
    kitchen: Kitchen, quarter_gib: Converter, image: Image, name: str, save: str
) -> None:
    folder = quarter_gib.workspace.scratch("held")
    case = Case(IMAGE, huge(kitchen, name, save), f"{folder}/out.jpg", {"size": "300x300"})
    run = quarter_gib.run(case)
    assert run.reason is ExitReason.NEEDS_MEMORY, run.report.message
    (enough,) = re.findall(r"limit of (\d+) MiB", run.report.message)
    # The limit that it names is enough, and not far from what is needed.
    with limited(image, kitchen, f"{enough}m") as agent:
        done = Converter(agent, kitchen.workspace, image.entrypoint).run(case, sample=True)
    assert done.output, done.report.message
    assert peak_mib(done) > int(enough) * 0.6


@pytest.mark.parametrize("compression", ["none", "deflate"])
def test_a_tiff_of_one_tile_is_held_whole(
    kitchen: Kitchen, image: Image, lab: Lab, compression: str
) -> None:
    tile = photo(kitchen, "photo-2000.png", "2000x1500")
    # libvips itself refuses tiles of more than 100 MB.
    save = f"[compression={compression},tile,tile-width=6000,tile-height=4512]"
    name = f"one-tile-{compression}.tif"
    source = kitchen.vips(name, "replicate", tile, "--", "3", "3", save=save)
    case = Case(IMAGE, source, "out.jpg", {"size": "300x300"})
    with limited(image, kitchen, "160m") as agent:
        run = Converter(agent, kitchen.workspace, image.entrypoint).run(case)
    assert run.reason is ExitReason.NEEDS_MEMORY, run.report.message
    (enough,) = re.findall(r"limit of (\d+) MiB", run.report.message)
    with limited(image, kitchen, f"{enough}m") as agent:
        done = Converter(agent, kitchen.workspace, image.entrypoint).run(case, sample=True)
    assert done.output, done.report.message
    assert lab.image(done.path).size == (300, 225)
    assert int(enough) * 0.6 < peak_mib(done) < int(enough)


LARGE = {"48mp-p.jpg": "[interlace]", "48mp-i.png": "[interlace]", "48mp.webp": "[Q=70]"}


def large(kitchen: Kitchen, name: str) -> str:
    """8000x6000."""
    tile = photo(kitchen, "photo-2000.png", "2000x1500")
    save = LARGE.get(name, "")
    return kitchen.vips(name, "replicate", tile, "--", "4", "4", save=save, limit=240)


@pytest.mark.parametrize("name", ["48mp.jpg", "48mp-p.jpg", "48mp.png", "48mp-i.png", "48mp.webp"])
def test_forty_eight_megapixels_of_every_sort(
    kitchen: Kitchen, half_gib: Converter, lab: Lab, name: str
) -> None:
    source = large(kitchen, name)
    folder = half_gib.workspace.scratch("48mp")
    run = measured(half_gib, Case(IMAGE, source, f"{folder}/out.jpg"))
    assert run.output, run.report.message
    assert peak_mib(run) < 400
    assert lab.image(run.path).size == (800, 600)


def uhd(kitchen: Kitchen) -> str:
    return kitchen.ffmpeg(
        "uhd-clip.mkv", *video("3840x2160", 25, 1), "-c:v", "libx264", "-preset", "ultrafast",
        "-pix_fmt", "yuv420p10le",
    )  # fmt: skip


def test_four_k_in_and_four_k_out_within_a_gib(kitchen: Kitchen, image: Image, lab: Lab) -> None:
    with limited(image, kitchen, "1g") as agent:
        converter = Converter(agent, kitchen.workspace, image.entrypoint)
        folder = converter.workspace.scratch("uhd")
        run = measured(converter, Case(VIDEO, uhd(kitchen), f"{folder}/out.mp4"))
        assert run.output, run.report.message
        assert peak_mib(run) < 950
        assert lab.media(run.path).size == (3840, 2160), "the size is never reduced to save memory"
        assert lab.frames(run.path) == 25


def test_a_video_that_no_plan_fits_is_refused_with_the_limit_it_needs(
    kitchen: Kitchen, image: Image
) -> None:
    with limited(image, kitchen, "128m") as agent:
        converter = Converter(agent, kitchen.workspace, image.entrypoint)
        folder = converter.workspace.scratch("needs")
        run = converter.run(Case(VIDEO, uhd(kitchen), f"{folder}/out.mp4"))
        assert run.reason is ExitReason.NEEDS_MEMORY, run.report.message
        assert any(word.strip(".,;").isdigit() for word in run.report.message.split())
        assert run.wall < 5
        # A small video is still converted in the same container.
        small = converter.run(Case(VIDEO, kitchen.base(), f"{folder}/small.mp4"))
        assert small.output, small.report.message


def test_an_image_that_does_not_fit_is_refused_with_the_limit_it_needs(
    kitchen: Kitchen, image: Image
) -> None:
    source = large(kitchen, "48mp-i.png")
    case = Case(IMAGE, source, f"{kitchen.workspace.scratch('needs')}/out.jpg")
    with limited(image, kitchen, "128m") as agent:
        run = Converter(agent, kitchen.workspace, image.entrypoint).run(case)
    assert run.reason is ExitReason.NEEDS_MEMORY, run.report.message
    (enough,) = re.findall(r"limit of (\d+) MiB", run.report.message)
    # The limit that it names is enough.
    with limited(image, kitchen, f"{enough}m") as agent:
        assert Converter(agent, kitchen.workspace, image.entrypoint).run(case).output


def test_small_things_in_little_memory(kitchen: Kitchen, image: Image) -> None:
    with limited(image, kitchen, "192m") as agent:
        converter = Converter(agent, kitchen.workspace, image.entrypoint)
        folder = converter.workspace.scratch("small")
        audio = kitchen.ffmpeg("tone.flac", *tone())
        for kind, source, target in (
            (AUDIO, audio, "out.mp3"),
            (IMAGE, photo(kitchen, "photo.jpg"), "out.jpg"),
            (THUMB, kitchen.base(), "thumb.jpg"),
            (VIDEO, hd(kitchen), "out.mp4"),
        ):
            options = {"resolution": "240p"} if kind is VIDEO else {}
            run = measured(converter, Case(kind, source, f"{folder}/{target}", options))
            assert run.reason in {ExitReason.COMPLETED, ExitReason.NEEDS_MEMORY}, run.report.message
            assert kind is VIDEO or run.output


def test_two_processors_are_used_if_available(
    kitchen: Kitchen, image: Image, converter: Converter
) -> None:
    folder = converter.workspace.scratch("two")
    case = Case(VIDEO, hd(kitchen), f"{folder}/out.mp4", {"quality": "medium", "duration": 1})
    alone = measured(converter, case)
    with limited(image, kitchen, "1g", "2") as agent:
        both = measured(Converter(agent, kitchen.workspace, image.entrypoint), case, tasks=24)
    assert both.ended.peak_tasks
    assert alone.ended.peak_tasks
    assert both.ended.peak_tasks > alone.ended.peak_tasks


CHATTY = """
import json, sys, time
sys.path.insert(0, "/opt/converter")
from media_converter.running.confinement import LIBRARIES, Confinement, landlock_abi
from media_converter.running.process import Files, Runner, Signals, TimeLimits
from media_converter.running.process import reserve_descriptors
from media_converter.step import Stdout, Step

reserve_descriptors()
source = open("/proc/self/exe", "rb")
time_limits = TimeLimits(time.monotonic() + 60, 60, 60)
confinement = Confinement(landlock_abi(), (*LIBRARIES, "/usr/lib/python3.13", "/agent"))
runner = Runner(Signals(), time_limits, confinement, {"PYTHONPATH": sys.argv[1]}, lambda: None)
noise = (
    "import sys; print('first', file=sys.{0});"
    "[sys.{0}.write('x' * 100 + {1}) for _ in range(200_000)]; print('last', file=sys.{0})"
)

def run(stream, end, stdout):
    tool = ("/usr/bin/python3", "-S", "-c", noise.format(stream, ascii(end)))
    return runner.run(
        Step("noise", tool, stdout), files=Files(source.fileno()), on_line=lines.append
    )

lines = []
printed = run("stderr", chr(10), Stdout.CAPTURE).stderr
captured = run("stdout", chr(10), Stdout.CAPTURE).stdout
run("stdout", "", Stdout.PROGRESS)
print(json.dumps({
    "stderr": len(printed), "ends": [printed.split()[0], printed.split()[-1]],
    "captured": len(captured), "line": max(map(len, lines)),
}))
"""


def test_endless_output_of_a_tool_is_cut(converter: Converter) -> None:
    # 20 MB each: as errors, as a result, and as one progress line.
    kept = json.loads(converter.agent.python(CHATTY, MODULES_PATH))
    assert kept["ends"] == ["first", "last"], "the cause comes first, the effect last"
    assert kept["stderr"] < 100_000
    assert kept["captured"] < 10_000_000
    assert kept["line"] < 200_000


@pytest.mark.alone
def test_start_up_is_quick(kitchen: Kitchen, converter: Converter) -> None:
    source = kitchen.write("dot.png", png(1, 1, 8, RGB, b"\xff\0\0"))
    walls = [converter.convert(IMAGE, source, "out.png").wall for _ in range(9)]
    # The least of nine: the others may have waited for other processes.
    assert min(walls) <= 0.25, walls


def damaged_caf(kitchen: Kitchen, name: str, offset: int, content: bytes) -> str:
    """A Core Audio file with other bytes at an offset of its header."""
    audio = kitchen.ffmpeg("audio.caf", *tone(seconds=2), "-c:a", "pcm_s16le")
    end = offset + len(content)
    return kitchen.edit(name, audio, lambda data: data[:offset] + content + data[end:])


def test_packets_that_lie_about_their_length_add_no_silence(
    kitchen: Kitchen, converter: Converter
) -> None:
    """Each packet claims to be a minute and a half long. Its samples say otherwise."""
    source = damaged_caf(kitchen, "endless.caf", 0x28, (0x400001).to_bytes(4, "big"))
    run = converter.convert(AUDIO, source, "out.mp3")
    assert run.report.output, run.report.message
    assert run.report.output.duration_seconds == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("rate", [1.0, 999.0, 7e8])
def test_an_impossible_sample_rate_is_refused(
    kitchen: Kitchen, converter: Converter, rate: float
) -> None:
    """A low rate makes hours of a small file, a high one a resampler of gigabytes."""
    source = damaged_caf(kitchen, f"rate-{rate:.0f}.caf", 0x14, struct.pack(">d", rate))
    converter.refused(AUDIO, source, "out.mp3", ExitReason.NO_AUDIO_STREAM)


def claims_to_last(kitchen: Kitchen, name: str, hours: int) -> str:
    """A short video whose sound claims to last hours: each sample of its track is longer."""
    plain = kitchen.ffmpeg(
        "claims.mp4", *video(seconds=2), *tone(seconds=2), *X264, "-c:a", "aac", "-b:a", "32k"
    )

    def lie(data: bytes) -> bytes:
        at = data.index(b"mdhd", data.index(b"soun") - 80)
        # mdhd: version and flags, two times, then the units per second.
        place = at + 4 + 12
        (rate,) = struct.unpack(">I", data[place : place + 4])
        slow = max(1, rate * 2 // (hours * 3600))
        return data[:place] + struct.pack(">I", slow) + data[place + 4 :]

    return kitchen.edit(name, plain, lie)


def test_a_small_file_that_claims_hours_writes_little(
    kitchen: Kitchen, converter: Converter
) -> None:
    source = claims_to_last(kitchen, "hours.mp4", 24)
    run = converter.convert(AUDIO, source, "out.mp3")
    written = run.output.stat().st_size if run.output else 0
    assert written < 100_000_000
    assert run.wall < 60


@pytest.mark.parametrize("kind", [VIDEO, AUDIO, IMAGE])
@pytest.mark.parametrize("limit", [1_000, 100_000])
def test_an_output_is_never_larger_than_the_limit(
    kitchen: Kitchen, converter: Converter, kind: ConversionType, limit: int
) -> None:
    source = {
        VIDEO: long_video(kitchen),
        AUDIO: kitchen.ffmpeg("minute.flac", *tone(seconds=60)),
        IMAGE: photo(kitchen, "photo.jpg"),
    }[kind]
    target = {VIDEO: "out.mp4", AUDIO: "out.mp3", IMAGE: "out.png"}[kind]
    case = Case(kind, source, f"{converter.workspace.scratch('large')}/{target}")
    run = converter.run(case, env={"MAX_OUTPUT_BYTES": str(limit)})
    assert run.reason is ExitReason.OUTPUT_TOO_LARGE, run.report.message
    assert str(limit) in run.report.message
    # The same file within its limit.
    enough = converter.run(case, env={"MAX_OUTPUT_BYTES": str(100_000_000)})
    assert enough.output


def test_an_image_with_a_long_side_or_many_frames_is_refused_by_its_header(
    kitchen: Kitchen, converter: Converter
) -> None:
    tall = kitchen.write("tall.png", png(1, 70_000, 8, RGB, b"\0" * 3))
    run = converter.refused(IMAGE, tall, "out.jpg", ExitReason.INPUT_TOO_LARGE)
    assert "70000" in run.report.message
    frame = b"\x21\xf9\x04\0\x0a\0\0\0\x2c\0\0\0\0\1\0\1\0\0\x02\x02\x44\x01\0"
    start = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff"
    many = kitchen.write("many.gif", start + frame * 20_000 + b";")
    run = converter.refused(IMAGE, many, "out.gif", ExitReason.INPUT_TOO_LARGE)
    assert "20000" in run.report.message
    for size in ((1, 20_000), (3, 65_000)):
        source = kitchen.write(f"tall-{size[1]}.png", png(*size, 8, RGB, b"\0" * 3 * size[0]))
        assert converter.convert(IMAGE, source, "out.jpg").output


def test_an_image_that_takes_too_long_is_not_retried(
    kitchen: Kitchen, converter: Converter
) -> None:
    folder = converter.workspace.scratch("stalled")
    source = large(kitchen, "48mp-i.png")
    # No machine encodes 17 megapixels as AVIF within a second.
    size = {"size": "4800x3600"}
    run = converter.run(Case(IMAGE, source, f"{folder}/out.avif", size, stall_seconds=1))
    assert run.reason is ExitReason.INPUT_DAMAGED, run.report.message
    assert "within 1 s" in run.report.message
