"""Probes files with the programs of the converter image, independently of the converter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tests.e2e.support.commands import must

IMAGE: Final = "my-converter:latest"


def in_image(volume: Path, program: str, *arguments: str) -> str:
    """Run a program of the image, with the shared volume at /workspace and nothing else."""
    return must(
        *("docker", "run", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp"),
        *(f"--volume={volume}:/workspace:ro", f"--entrypoint={program}", IMAGE, *arguments),
    )


def probe_media(volume: Path, path: str) -> dict[str, Any]:
    """Facts about a video or audio file from ffprobe, named as in status.output."""
    answer = json.loads(
        in_image(
            *(volume, "ffprobe", "-v", "error", "-of", "json"),
            *("-show_format", "-show_streams", path),
        )
    )
    streams = {stream["codec_type"]: stream for stream in answer["streams"]}
    video, audio = streams.get("video", {}), streams.get("audio", {})
    facts = {
        "container": answer["format"]["format_name"],
        "videoCodec": video.get("codec_name"),
        "audioCodec": audio.get("codec_name"),
        "width": video.get("width"),
        "height": video.get("height"),
        "durationSeconds": f"{float(answer['format']['duration']):.3f}",
    }
    return {name: value for name, value in facts.items() if value is not None}


def probe_image(volume: Path, path: str) -> dict[str, Any]:
    """Facts about an image from vipsheader."""
    loader, width, height = (
        in_image(volume, "vipsheader", "-f", field, path).strip()
        for field in ("vips-loader", "width", "height")
    )
    return {"loader": loader, "width": int(width), "height": int(height)}
