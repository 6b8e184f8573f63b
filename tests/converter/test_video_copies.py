"""A copied stream decodes completely, has one configuration, and carries nothing else."""

from __future__ import annotations

import struct

import pytest

from media_converter.contract import ExitReason
from tests.converter.harness import PREVIEW, VIDEO, Converter
from tests.converter.kitchen import AAC, X264, Kitchen, tone, video
from tests.converter.lab import Lab


def joined(kitchen: Kitchen, name: str, *parts: str) -> str:
    return kitchen.write(name, b"".join(kitchen.read(part) for part in parts))


def clip(kitchen: Kitchen, name: str, *encoder: str, size: str = "320x180") -> str:
    return kitchen.ffmpeg(name, *video(size), *tone(), *(encoder or X264), *AAC)


def two_descriptions(kitchen: Kitchen) -> str:
    """Two clips under one track with two sample descriptions, as some cameras write them."""
    first = kitchen.ffmpeg("stsd-a.mp4", *video(), *X264, "-profile:v", "baseline")
    second = kitchen.ffmpeg(
        "stsd-b.mp4", *video(), "-c:v", "libx264", "-profile:v", "high", "-pix_fmt", "yuv420p",
        "-g", "25",
    )  # fmt: skip
    return kitchen.write("stsd.mp4", with_both(kitchen.read(first), kitchen.read(second)))


def with_both(first: bytes, second: bytes) -> bytes:
    """Append the samples of ``second`` as a second description with its own chunk."""
    (a, b) = (Atoms(first), Atoms(second))
    payload = a.media + b.media
    ftyp = first[: int.from_bytes(first[:4], "big")]
    start = len(ftyp) + 8
    counts = len(a.sizes), len(b.sizes)
    entries = a.entry + b.entry
    total = sum(counts)
    stsd = atom(b"stsd", struct.pack(">II", 0, 2) + entries)
    stts = atom(b"stts", struct.pack(">IIII", 0, 1, total, 512))
    stsc = atom(b"stsc", struct.pack(">II6I", 0, 2, 1, counts[0], 1, 2, counts[1], 2))
    stsz = atom(
        b"stsz", struct.pack(">III", 0, 0, total) + struct.pack(f">{total}I", *a.sizes, *b.sizes)
    )
    stco = atom(b"stco", struct.pack(">IIII", 0, 2, start, start + len(a.media)))
    stbl = atom(b"stbl", stsd + stts + stsc + stsz + stco)
    minf = atom(b"minf", a.vmhd + a.dinf + stbl)
    length = 512 * total
    mdhd = atom(b"mdhd", struct.pack(">IIIIIHH", 0, 0, 0, 12800, length, 0x55C4, 0))
    mdia = atom(b"mdia", mdhd + a.hdlr + minf)
    tkhd = a.tkhd[:28] + struct.pack(">I", length * 1000 // 12800) + a.tkhd[32:]
    mvhd = a.mvhd[:24] + struct.pack(">I", length * 1000 // 12800) + a.mvhd[28:]
    moov = atom(b"moov", mvhd + atom(b"trak", tkhd + mdia))
    return ftyp + atom(b"mdat", payload) + moov


def atom(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


class Atoms:
    """The parts of a file with one track of video without B-frames."""

    def __init__(self, data: bytes) -> None:
        def find(kind: bytes) -> bytes:
            at = data.index(kind) - 4
            return data[at : at + int.from_bytes(data[at : at + 4], "big")]

        self.mvhd, self.tkhd, self.hdlr = find(b"mvhd"), find(b"tkhd"), find(b"hdlr")
        self.vmhd, self.dinf = find(b"vmhd"), find(b"dinf")
        self.entry = find(b"stsd")[16:]
        stsz = find(b"stsz")
        count = int.from_bytes(stsz[16:20], "big")
        self.sizes = struct.unpack(f">{count}I", stsz[20 : 20 + 4 * count])
        self.media = find(b"mdat")[8:]


CHANGES = {
    "parameter sets in TS": ("baseline.ts", "high.ts"),
    "two sizes in TS": ("baseline.ts", "large.ts"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_joined_clips_decode_from_start_to_end(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str
) -> None:
    clip(kitchen, "baseline.ts", *X264, "-profile:v", "baseline")
    high = ("-c:v", "libx264", "-profile:v", "high", "-pix_fmt", "yuv420p")
    clip(kitchen, "high.ts", *high)
    clip(kitchen, "large.ts", *X264, size="640x480")
    parts = [f"media/{part}" for part in CHANGES[name]]
    source = joined(kitchen, f"{name}.ts", *parts)
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.frames(run.path) == pytest.approx(150, abs=2)
    assert lab.media(run.path).size == (320, 180)
    assert lab.media(run.path).duration == pytest.approx(6, abs=0.3)
    # The second half shows the second clip.
    shown, wanted = lab.frame(run.path, 3.02), lab.frame(parts[1])
    if shown.size == wanted.size:
        assert all(abs(a - b) < 12 for a, b in zip(shown.mean, wanted.mean, strict=True))
    else:
        assert shown.at(0.02, 0.5) == pytest.approx((0, 0, 0), abs=12), "bars beside the picture"
        assert max(shown.at(0.5, 0.3)) > 40


def test_a_second_description_is_not_lost(kitchen: Kitchen, converter: Converter, lab: Lab) -> None:
    source = two_descriptions(kitchen)
    run = converter.convert(VIDEO, source, "out.mp4")
    # Where the decoder changes, it may drop the picture that it holds.
    assert lab.frames(run.path) >= 149
    shown, wanted = lab.frame(run.path, 4.5), lab.frame("media/stsd-b.mp4", 1.5)
    assert all(abs(a - b) < 12 for a, b in zip(shown.mean, wanted.mean, strict=True))


SOUND = {
    # name: channels and rate of the second clip, its codec and container
    "stereo to 5.1": (6, 48000, "aac", "ts"),
    "48 to 44.1 kHz": (2, 44100, "aac", "ts"),
    "stereo to mono": (1, 48000, "aac", "ts"),
    "mp3 rate": (2, 44100, "libmp3lame", "ts"),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_whose_parameters_change_is_heard_to_its_end(
    kitchen: Kitchen, converter: Converter, lab: Lab, name: str
) -> None:
    channels, rate, codec, ending = SOUND[name]
    parts = []
    for number, (hertz, count, hz) in enumerate(((440, 2, 48000), (1000, channels, rate))):
        parts.append(
            kitchen.ffmpeg(
                f"{name} {number}.{ending}",
                *video(),
                *tone(hertz, rate=hz),
                *X264,
                "-c:a",
                codec,
                "-ac",
                str(count),
                "-ar",
                str(hz),
            )
        )
    run = converter.convert(VIDEO, joined(kitchen, f"{name}.{ending}", *parts), "out.mp4")
    assert lab.seconds(run.path) == pytest.approx(6, abs=0.3)
    for start, hertz in ((0.5, 440), (3.7, 1000)):
        part = f"atrim={start}:{start + 1.5},bandpass=f={hertz}:width_type=h:w=40"
        assert lab.loudness(run.path, part)[0] > -35, f"{hertz} Hz from {start} s"


SECRETS = {
    "place": "h264_metadata=sei_user_data=086f3693-b7b3-4f2c-9653-21492feee5b8+"
    "GPS48.8577N002.2950E",
}


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_nothing_travels_in_the_pictures(
    kitchen: Kitchen, converter: Converter, lab: Lab, ending: str
) -> None:
    source = kitchen.ffmpeg(
        f"place.{ending}", "-i", kitchen.base(), "-c", "copy", "-bsf:v", SECRETS["place"]
    )
    assert b"GPS48.8577N" in kitchen.read(source)
    run = converter.convert(VIDEO, source, "out.mp4")
    assert b"GPS48.8577N" not in run.path.read_bytes()
    assert lab.pixels(run.path) == lab.pixels(source), "it was encoded again"


CAPTION = b"GA94\3\x42\xff\xfc\x94\x2c\xfc\x48\x49\xff"
"""Two pairs of bytes of closed captions (CEA-608), as H.264 and MPEG-2 have them."""


def captioned(kitchen: Kitchen, codec: str) -> str:
    """A film with a caption in each picture."""
    if codec == "h264":
        plain = kitchen.ffmpeg(
            "caption.h264", *video("640x480"), *X264, "-bsf:v", "h264_metadata=aud=insert"
        )
        body = b"\xb5\0\x31" + CAPTION
        message = b"\0\0\0\1\6\4" + bytes([len(body)]) + body + b"\x80"
        mark = b"\0\0\0\1\x09"

        def insert(data: bytes) -> bytes:
            pictures = data.split(mark)
            # After the first byte of each picture, which is the rest of its delimiter.
            return pictures[0] + b"".join(mark + p[:1] + message + p[1:] for p in pictures[1:])

        source = kitchen.edit("captions.h264", plain, insert)
        return kitchen.ffmpeg("captions.ts", "-r", "25", "-i", source, "-c", "copy")
    plain = kitchen.ffmpeg("caption.m2v", *video("640x480"), "-c:v", "mpeg2video", "-q:v", "4")
    slice_code = b"\0\0\1\1"
    return kitchen.edit(
        "captions.m2v",
        plain,
        lambda data: data.replace(slice_code, b"\0\0\1\xb2" + CAPTION + slice_code),
    )


@pytest.mark.parametrize("codec", ["h264", "mpeg2"])
@pytest.mark.parametrize(
    "options", [{}, {"resolution": "240p"}, {"videoCodec": "hevc", "resolution": "240p"}]
)
def test_captions_are_neither_copied_nor_written_again(
    kitchen: Kitchen, converter: Converter, lab: Lab, codec: str, options: dict[str, str]
) -> None:
    source = captioned(kitchen, codec)
    assert b"GA94" in kitchen.read(source)
    run = converter.convert(VIDEO, source, "out.mp4", **options)
    assert lab.frames(run.path) == 75
    assert b"GA94" not in run.path.read_bytes()


def test_a_preview_has_no_captions(kitchen: Kitchen, converter: Converter) -> None:
    run = converter.convert(PREVIEW, captioned(kitchen, "mpeg2"), "out.mp4", duration=3)
    assert b"GA94" not in run.path.read_bytes()


def test_a_film_with_cuts_in_its_edit_list_keeps_them(
    kitchen: Kitchen, converter: Converter, lab: Lab
) -> None:
    """A phone's trim is an edit list: what it hides must not come back."""
    whole = kitchen.ffmpeg("hidden.mp4", *video(), *X264, "-g", "75")

    def hide_first_second(data: bytes) -> bytes:
        at = data.index(b"elst") + 4
        body = struct.pack(">IIIiHH", 0, 1, 2000, 12800, 1, 0)
        return data[:at] + body + data[at + len(body) :]

    source = kitchen.edit("edited.mp4", whole, hide_first_second)
    run = converter.convert(VIDEO, source, "out.mp4")
    assert lab.media(run.path).duration == pytest.approx(2, abs=0.1)
    assert lab.frames(run.path) == pytest.approx(50, abs=1)


def test_a_refused_copy_is_not_refused(kitchen: Kitchen, converter: Converter) -> None:
    source = joined(kitchen, "rest.ts", kitchen.ffmpeg("one.ts", *video(), *X264))
    run = converter.convert(VIDEO, source, "out.mp4")
    assert run.reason is ExitReason.COMPLETED
    assert not run.report.warnings
