"""The shipped image, and the contract through plain ``docker run``."""

from __future__ import annotations

import hashlib
import re
import subprocess
import uuid
from dataclasses import dataclass

import pytest

from media_converter.contract import EXIT_CODES, ConversionType, ExitReason, Progress, Report
from media_converter.probing.codecs import AUDIO_DECODERS, DEMUXERS, VIDEO_DECODERS
from media_converter.report_json import parse_progress, parse_report
from tests.converter.containers import RESTRICTED, Agent, Image, docker
from tests.converter.harness import AUDIO, IMAGE, THUMB, VIDEO, Case, Workspace, until
from tests.converter.kitchen import X264, Kitchen, tone, video
from tests.converter.lab import Lab
from tests.converter.recipes import long_video, looped_video

RULE = re.compile(r" ?-+$")


@dataclass(frozen=True)
class Plain:
    """One container, one conversion: exit code, report (the last line of output) and progress."""

    code: int
    report: Report
    progress: tuple[Progress, ...]


def plain(
    image: Image,
    workspace: Workspace,
    case: Case,
    *flags: str,
    name: str = "",
) -> Plain:
    """``docker run`` as a user types it, with every restriction of the cluster."""
    env = [f"--env={key}={value}" for key, value in case.env().items()]
    volume = f"--volume={workspace.root}:/workspace"
    done = subprocess.run(
        [
            "docker",
            "run",
            "--rm",
            f"--name={name or uuid.uuid4().hex}",
            *RESTRICTED,
            *flags,
            *env,
            volume,
            image.name,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert lines, done.stderr
    report = parse_report(lines[-1])
    assert report, done.stdout + done.stderr
    assert report.final
    assert report.reason
    assert EXIT_CODES[report.reason] == done.returncode
    progress = tuple(found for line in lines if (found := parse_progress(line)))
    return Plain(done.returncode, report, progress)


def request(kitchen: Kitchen, kind: ConversionType) -> Case:
    source, target = {
        VIDEO: (kitchen.ffmpeg("plain.avi", *video(), *tone(), "-c:v", "mpeg4"), "out.mp4"),
        AUDIO: (kitchen.ffmpeg("tone.flac", *tone()), "out.mp3"),
        IMAGE: (kitchen.ffmpeg("still-large.jpg", *video("1600x900"), "-frames:v", "1"), "out.jpg"),
        THUMB: (kitchen.base(), "out.png"),
    }[kind]
    return Case(kind, f"/{source}", f"/{kitchen.workspace.scratch('plain')}/{target}")


@pytest.mark.parametrize("kind", [VIDEO, AUDIO, IMAGE, THUMB])
def test_docker_run(kitchen: Kitchen, image: Image, lab: Lab, kind: ConversionType) -> None:
    case = request(kitchen, kind)
    run = plain(image, kitchen.workspace, case)
    assert run.code == 0
    path = kitchen.workspace.path(case.target)
    assert run.report.output
    assert run.report.output.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert run.report.output_size == path.stat().st_size
    assert path.stat().st_uid == 65532
    if kind in {IMAGE, THUMB}:
        assert lab.image(path).size == ((800, 450) if kind is IMAGE else (320, 180))
    else:
        assert lab.media(path).duration == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("user", ["12345:23456", "0"])
def test_any_user_can_run_it(kitchen: Kitchen, image: Image, user: str) -> None:
    case = request(kitchen, IMAGE)
    kitchen.workspace.path(case.target).parent.chmod(0o777)
    run = plain(image, kitchen.workspace, case, f"--user={user}")
    assert run.report.reason is ExitReason.COMPLETED
    owner = kitchen.workspace.path(case.target).stat().st_uid
    assert str(owner) == user.partition(":")[0]


def test_a_refusal_says_why_in_the_last_line(kitchen: Kitchen, image: Image) -> None:
    silent = kitchen.ffmpeg("silent.mp4", *video(), *X264)
    folder = kitchen.workspace.scratch("plain")
    run = plain(image, kitchen.workspace, Case(AUDIO, silent, f"{folder}/out.mp3"))
    assert run.report.reason is ExitReason.NO_AUDIO_STREAM
    assert not list(kitchen.workspace.path(folder).iterdir())


def test_without_environment_it_names_what_is_missing(image: Image, workspace: Workspace) -> None:
    done = subprocess.run(
        ["docker", "run", "--rm", *RESTRICTED, image.name],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    report = parse_report(done.stdout.splitlines()[-1])
    assert report
    assert report.reason is ExitReason.INVALID_OPTIONS
    assert done.returncode == EXIT_CODES[ExitReason.INVALID_OPTIONS]
    assert "CONVERSION_TYPE" in report.message or "INPUT_FILE" in report.message
    assert workspace.root.is_dir()


def test_without_a_volume(image: Image) -> None:
    case = Case(VIDEO, "/input/a.mov", "/output/a.mp4")
    env = [f"--env={key}={value}" for key, value in case.env().items()]
    done = subprocess.run(
        ["docker", "run", "--rm", *RESTRICTED, *env, image.name],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    report = parse_report(done.stdout.splitlines()[-1])
    assert report
    assert report.reason in {ExitReason.INPUT_NOT_FOUND, ExitReason.IO_ERROR}


def test_docker_stop_ends_within_five_seconds(kitchen: Kitchen, image: Image) -> None:
    folder = kitchen.workspace.scratch("stop")
    case = Case(VIDEO, looped_video(kitchen), f"{folder}/out.mp4", {"quality": "high"})
    name = f"converter-test-{uuid.uuid4().hex[:8]}"
    env = [f"--env={key}={value}" for key, value in case.env().items()]
    volume = f"--volume={kitchen.workspace.root}:/workspace"
    docker("run", "-d", f"--name={name}", *RESTRICTED, *env, volume, image.name)
    try:
        place = kitchen.workspace.path(folder)
        until(lambda: any(p.stat().st_size > 1000 for p in place.iterdir()))
        # Docker kills after five seconds, and a kill would show as 137.
        docker("stop", "--time=5", name)
        state = docker("inspect", "--format={{.State.ExitCode}}", name).strip()
        last = docker("logs", name).splitlines()[-1]
    finally:
        docker("rm", "-f", name)
    assert int(state) == EXIT_CODES[ExitReason.TERMINATED]
    report = parse_report(last)
    assert report
    assert report.reason is ExitReason.TERMINATED
    assert not list(place.iterdir())


def test_docker_kill_leaves_no_output(kitchen: Kitchen, image: Image) -> None:
    folder = kitchen.workspace.scratch("kill")
    case = Case(VIDEO, long_video(kitchen), f"{folder}/out.mp4", {"quality": "high"})
    name = f"converter-test-{uuid.uuid4().hex[:8]}"
    env = [f"--env={key}={value}" for key, value in case.env().items()]
    volume = f"--volume={kitchen.workspace.root}:/workspace"
    docker("run", "-d", f"--name={name}", *RESTRICTED, *env, volume, image.name)
    place = kitchen.workspace.path(folder)
    try:
        until(lambda: any(p.stat().st_size > 1000 for p in place.iterdir()))
        docker("kill", name)
    finally:
        docker("rm", "-f", name)
    assert not (place / "out.mp4").exists()
    assert plain(image, kitchen.workspace, Case(VIDEO, kitchen.base(), case.target)).code == 0
    assert [p.name for p in place.iterdir()] == ["out.mp4"]


def test_versions_are_printed(
    image: Image, restricted: Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    ffmpeg = restricted.run(("ffmpeg", "-version")).decode().splitlines()[0]
    vips = restricted.run(("vips", "--vips-version")).decode().strip()
    digest = docker("image", "inspect", "--format={{.Id}}", image.name).strip()
    with capsys.disabled():
        print(f"\n{image.name} {digest} {image.size} bytes\n{ffmpeg}\n{vips}")
    assert ffmpeg.startswith("ffmpeg version")


def test_the_image_is_small(image: Image) -> None:
    assert image.size <= 200_000_000


def test_the_image_runs_as_an_unprivileged_user(image: Image) -> None:
    assert image.user.partition(":")[0] == "65532"
    assert image.config["Entrypoint"]
    assert "sh" not in image.config["Entrypoint"][0].rpartition("/")[2]


def test_nothing_in_the_image_gains_privileges(restricted: Agent) -> None:
    script = (
        "import os,stat\n"
        "for top,dirs,files in os.walk('/'):\n"
        "    skip = ('/proc','/sys','/dev','/agent')\n"
        "    dirs[:] = [d for d in dirs if os.path.join(top,d) not in skip]\n"
        "    for name in files:\n"
        "        path = os.path.join(top,name)\n"
        "        mode = os.lstat(path).st_mode\n"
        "        if stat.S_ISREG(mode) and mode & 0o6000: print(path)\n"
        "        if stat.S_ISREG(mode) and mode & 0o002 and not path.startswith('/workspace'):\n"
        "            print(path)\n"
    )
    assert restricted.python(script).split() == []


def test_only_what_is_needed_is_in_the_image(restricted: Agent) -> None:
    script = (
        "import shutil\n"
        "for name in ('gcc','cc','make','curl','wget','git','convert','magick','gs','pip','pip3',"
        "'nasm','perl5','ssh','nc'):\n"
        "    if shutil.which(name): print(name)\n"
    )
    assert restricted.python(script).split() == []
    protocols = restricted.run(("ffmpeg", "-hide_banner", "-protocols")).decode().split()
    assert not {"http", "https", "tcp", "udp", "tls", "rtmp", "rtp", "ftp", "hls"} & set(protocols)


def test_ffmpeg_opens_and_decodes_what_the_list_names(restricted: Agent) -> None:
    def listed(option: str, mark: str) -> set[str]:
        lines = restricted.run(("ffmpeg", "-v", "error", option)).decode().splitlines()
        rows = (line.split() for line in lines[lines.index(next(filter(RULE.match, lines))) + 1 :])
        return {row[1] for row in rows if mark in row[0][:1]}

    decoders = listed("-codecs", "D")
    assert decoders == VIDEO_DECODERS | AUDIO_DECODERS
    demuxers = listed("-demuxers", "D")
    assert len(demuxers) == len(DEMUXERS)
    names = {name for found in demuxers for name in found.split(",")}
    # Demuxers that read other files or the network on behalf of a file.
    assert not names & {"hls", "dash", "concat", "image2", "sdp", "rtsp", "imf", "lavfi", "nsv"}


def test_the_image_has_no_loader_of_risky_formats(restricted: Agent) -> None:
    # Loaders that libvips marks as untrusted are compiled in and rotated off at run time.
    loaders = restricted.run(("vips", "-l", "foreign")).decode().lower().splitlines()
    for name in ("magick", "pdfload", "svgload", "openslide", "jxl", "matload", "openexr", "nifti"):
        live = [line for line in loaders if name in line and "untrusted" not in line]
        assert not [line for line in live if "_base)" not in line], name


def test_ffmpeg_writes_what_the_conversions_need(restricted: Agent) -> None:
    def listed(option: str) -> set[str]:
        lines = restricted.run(("ffmpeg", "-v", "error", option)).decode().splitlines()
        rows = [line.split() for line in lines]
        return {name for row in rows if len(row) > 1 for name in row[1].split(",")}

    encoders = {"aac", "flac", "libmp3lame", "libopus", "libvorbis", "pcm_s16le", "pcm_s24le"}
    encoders |= {"libsvtav1", "libvpx-vp9", "libx264", "libx265", "libaom-av1", "libwebp_anim"}
    assert encoders <= listed("-encoders")
    assert {"ipod", "opus", "ogg", "flac", "wav", "webm", "webp"} <= listed("-muxers")
    filters = listed("-filters")
    assert {"ebur128", "alimiter", "astats", "volume", "tile", "blackframe", "concat"} <= filters
    # It changes the dynamics of sound if the linear gain would clip.
    assert "loudnorm" not in filters
