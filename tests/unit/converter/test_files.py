"""Paths, temporary files, structures and images: on real files, without any tool."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_converter.contract import ExitReason
from media_converter.errors import ConversionError
from media_converter.files import (
    bmp,
    colour_tags,
    digest,
    image_kinds,
    image_layout,
    jpeg,
    paths,
    publish,
    space,
    structure,
    temporary,
    tiff,
)
from media_converter.files.still import Still, measure


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "space" / "in").mkdir(parents=True)
    (tmp_path / "space" / "in" / "video.mp4").write_bytes(b"video")
    (tmp_path / "secret").write_bytes(b"secret")
    fd = paths.open_root(str(tmp_path / "space"))
    yield fd
    os.close(fd)


def reason_of(root: int, path: str) -> ExitReason:
    with pytest.raises(ConversionError) as refused:
        paths.open_input(root, path)
    return refused.value.reason


@pytest.mark.parametrize("path", ["in/video.mp4", "/in/video.mp4", "//in//video.mp4"])
def test_paths_start_at_the_root_of_the_volume(root: int, path: str) -> None:
    found = paths.open_input(root, path)
    assert os.read(found.fd, 10) == b"video"


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "in/", "..", "../secret", "in/../../secret", "./in/video.mp4", "in/./video.mp4",
        "in/video.mp4\0", "a" * 256, "/".join(["a"] * 3000), "link", "folder/video.mp4", "loop",
        "absolute", "in/out",
    ],
)  # fmt: skip
def test_no_path_leaves_the_volume(root: int, tmp_path: Path, path: str) -> None:
    space = tmp_path / "space"
    (space / "link").symlink_to("in/video.mp4")
    (space / "folder").symlink_to("in")
    (space / "loop").symlink_to("loop")
    (space / "absolute").symlink_to(tmp_path / "secret")
    (space / "in" / "out").symlink_to("../../secret")
    assert reason_of(root, path) is ExitReason.PATH_NOT_ALLOWED


def test_only_regular_files_with_content_are_accepted(root: int, tmp_path: Path) -> None:
    space = tmp_path / "space"
    os.mkfifo(space / "pipe")
    (space / "empty").touch()
    assert reason_of(root, "pipe") is ExitReason.INPUT_NOT_REGULAR
    assert reason_of(root, "in") is ExitReason.INPUT_NOT_REGULAR
    assert reason_of(root, "empty") is ExitReason.INPUT_EMPTY
    assert reason_of(root, "in/video.mp4/x") is ExitReason.INPUT_NOT_FOUND
    assert reason_of(root, "missing") is ExitReason.INPUT_NOT_FOUND


@given(st.text(alphabet="ab./\0\n é", max_size=30))
def test_any_path_is_split_or_refused(path: str) -> None:
    reason: ExitReason | None = None
    parts: tuple[str, ...] = ()
    try:
        parts = paths.split(path, "INPUT_FILE")
    except ConversionError as refused:
        reason = refused.reason
    assert (reason is ExitReason.PATH_NOT_ALLOWED) == (not parts)
    assert all(part and part not in (".", "..") and "/" not in part for part in parts)


def test_the_output_is_never_the_input(root: int, tmp_path: Path) -> None:
    space = tmp_path / "space"
    os.link(space / "in" / "video.mp4", space / "hard.mp4")
    (space / "soft.mp4").symlink_to("in/video.mp4")
    source = paths.open_input(root, "in/video.mp4")
    for path in ("in/video.mp4", "hard.mp4", "soft.mp4"):
        with pytest.raises(ConversionError) as refused:
            paths.check_not_input(root, path, source)
        assert refused.value.reason is ExitReason.OUTPUT_IS_INPUT
    paths.check_not_input(root, "not/there/yet.mp4", source)


def test_an_input_that_changes_is_noticed(root: int, tmp_path: Path) -> None:
    source = paths.open_input(root, "in/video.mp4")
    source.check_unchanged()
    with (tmp_path / "space" / "in" / "video.mp4").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(ConversionError) as refused:
        source.check_unchanged()
    assert refused.value.reason is ExitReason.INPUT_CHANGED


def test_an_output_is_complete_or_absent(root: int, tmp_path: Path) -> None:
    target = paths.open_target(root, "new/folder/out.mp4", None)
    folder = tmp_path / "space" / "new" / "folder"
    unfinished = temporary.create(target)
    os.write(unfinished.fd, b"done")
    assert not (folder / "out.mp4").exists()
    unfinished.commit()
    assert [path.name for path in folder.iterdir()] == ["out.mp4"]
    assert (folder / "out.mp4").read_bytes() == b"done"
    thrown = temporary.create(target)
    thrown.discard()
    assert [path.name for path in folder.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize("supported", [True, False], ids=["renameat2", "link"])
def test_an_output_that_exists_is_not_replaced(
    root: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    """It appears while the output is written. Where the file system has no such rename, a link."""
    if not supported:

        def refuse(_folder: int, _old: str, _new: str) -> None:
            raise OSError(errno.EINVAL, "no such flag")

        monkeypatch.setattr(publish, "_rename_no_replace", refuse)
    unfinished = temporary.create(paths.open_target(root, "out.mp4", None))
    os.write(unfinished.fd, b"new")
    somebodys = tmp_path / "space" / "out.mp4"
    somebodys.write_bytes(b"somebody's")
    assert not unfinished.commit(overwrites=False)
    assert somebodys.read_bytes() == b"somebody's"
    somebodys.unlink()
    assert unfinished.commit(overwrites=False)
    assert somebodys.read_bytes() == b"new"
    assert not list((tmp_path / "space").glob(f"{temporary.PREFIX}*"))


def test_an_error_of_the_rename_is_told(root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_folder: int, _old: str, _new: str) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(publish, "_rename_no_replace", fail)
    unfinished = temporary.create(paths.open_target(root, "out.mp4", None))
    with pytest.raises(ConversionError) as refused:
        unfinished.commit(overwrites=False)
    assert refused.value.reason is ExitReason.IO_ERROR


def test_the_mark_of_an_output(root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stored: dict[tuple[int, str], bytes] = {}

    def get(fd: int, name: str) -> bytes:
        if (fd, name) not in stored:
            raise OSError(errno.ENODATA, "none")
        return stored[fd, name]

    def put(fd: int, name: str, value: bytes) -> None:
        stored[fd, name] = value

    monkeypatch.setattr(os, "getxattr", get)
    monkeypatch.setattr(os, "setxattr", put)
    assert publish.read_mark(9) is None
    assert publish.mark(9, publish.Mark("uid", "abc"))
    assert stored == {(9, "user.my-network-converter.published"): b"uid abc"}
    assert publish.read_mark(9) == publish.Mark("uid", "abc")
    stored[9, publish.MARK] = b"nonsense"
    assert publish.read_mark(9) is None

    def unsupported(*_: object) -> bytes:
        raise OSError(errno.EOPNOTSUPP, "no attributes")

    monkeypatch.setattr(os, "getxattr", unsupported)
    monkeypatch.setattr(os, "setxattr", unsupported)
    assert not publish.mark(9, publish.Mark("uid", "abc"))
    with pytest.raises(OSError, match="no attributes"):
        publish.read_mark(9)


def test_hashing_can_be_stopped(tmp_path: Path) -> None:
    content = bytes(5 << 20)
    (tmp_path / "large").write_bytes(content)
    fd = os.open(tmp_path / "large", os.O_RDONLY)
    calls = []
    assert digest.sha256(fd, lambda: calls.append(1)) == hashlib.sha256(content).hexdigest()
    assert len(calls) == 5, "once for each mebibyte"

    def stop() -> None:
        raise ConversionError(ExitReason.TERMINATED, "stop")

    with pytest.raises(ConversionError):
        digest.sha256(fd, stop)
    os.close(fd)


@pytest.mark.parametrize(
    ("blocks", "free", "full"),
    [
        (1 << 30, 17_000, False),  # 4 TiB, 66 MiB free
        (1 << 30, 16_000, True),  # 62 MiB free
        (6144, 62, False),  # 24 MiB, a little more than a hundredth free
        (6144, 61, True),
        (0, 0, False),  # the file system does not say
    ],
)
def test_a_volume_is_full_before_the_last_byte(
    monkeypatch: pytest.MonkeyPatch, blocks: int, free: int, full: bool
) -> None:
    state = SimpleNamespace(f_blocks=blocks, f_bavail=free, f_frsize=4096)
    monkeypatch.setattr(os, "fstatvfs", lambda _fd: state)
    if full:
        with pytest.raises(ConversionError, match="free some space") as refused:
            space.check_free_space(3)
        assert refused.value.reason is ExitReason.DISK_FULL
    else:
        space.check_free_space(3)


def test_a_temporary_that_was_swapped_is_not_put_in_place(root: int, tmp_path: Path) -> None:
    unfinished = temporary.create(paths.open_target(root, "out.mp4", None))
    (tmp_path / "space" / unfinished.name).unlink()
    (tmp_path / "space" / unfinished.name).write_bytes(b"somebody else's")
    with pytest.raises(ConversionError):
        unfinished.commit()
    assert not (tmp_path / "space" / "out.mp4").exists()


def test_only_unlocked_temporary_files_are_swept(root: int, tmp_path: Path) -> None:
    space = tmp_path / "space"
    target = paths.open_target(root, "out.mp4", None)
    busy = temporary.create(target)
    left = space / f"{temporary.PREFIX}0123456789abcdef{temporary.SUFFIX}"
    left.write_bytes(b"half")
    others = [
        ".converter-notes.part",
        f"{temporary.PREFIX}0123456789ABCDEF{temporary.SUFFIX}",
        "x.part",
    ]
    for name in others:
        (space / name).write_bytes(b"not ours")
    assert temporary.sweep(target.folder) == (left.name,)
    assert {path.name for path in space.iterdir()} == {*others, busy.name, "in"}
    with (space / busy.name).open("r+b") as stream, pytest.raises(BlockingIOError):
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def reading(data: bytes) -> structure.ReadAt:
    return lambda at, count: data[at : at + count]


def missing(data: bytes) -> int:
    return structure.missing_bytes(reading(data), len(data))


def test_missing_bytes_are_counted_by_the_structure() -> None:
    mp4 = box(b"ftyp", b"isom") + box(b"moov", bytes(10)) + box(b"mdat", bytes(1000))
    riff = b"RIFF" + struct.pack("<I", 1000) + b"WAVE" + bytes(996)
    mkv = b"\x1a\x45\xdf\xa3\x80" + b"\x18\x53\x80\x67" + b"\x43\xe8" + bytes(1000)
    xing = b"\xff\xfb\x90\x00" + bytes(32) + b"Xing\0\0\0\x03" + struct.pack(">II", 9, 1000)
    mp3 = b"ID3\x03\0\0\0\0\0\x05hello" + xing + bytes(1000 - len(xing))
    for whole in (mp4, riff, mkv, mp3):
        assert missing(whole) == 0
        assert missing(whole[:-300]) == 300
        assert missing(whole + b"trailing") == 0
    assert missing(b"RIFF\xff\xff\xff\xffWAVE") == 0
    assert missing(b"") == 0


@pytest.mark.parametrize(
    ("whole", "cut"),
    [
        (b"\xff\xd8\xff\xe1\xff\xd9\xff\xda..\xff\xd9", 2),
        (b"\x89PNG....IEND....", 8),
        (b"GIF89a....;", 1),
        (box(b"ftyp", b"isom") + box(b"mdat", bytes(20)) + box(b"moov", b""), 8),
    ],
)
def test_a_file_without_the_mark_of_its_end(whole: bytes, cut: int) -> None:
    for data, wanted in ((whole, False), (whole + bytes(9), False), (whole[:-cut], True)):
        assert structure.ends_early(reading(data), len(data)) == wanted


def test_faststart() -> None:
    first = box(b"ftyp", b"isom") + box(b"moov", b"") + box(b"mdat", b"x")
    last = box(b"ftyp", b"isom") + box(b"mdat", b"x") + box(b"moov", b"")
    for data, wanted in ((first, True), (last, False), (b"", False)):
        assert structure.is_faststart(reading(data), len(data)) is wanted


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"#EXTM3U\n", "playlist"),
        (b"\xef\xbb\xbf  ffconcat version 1.0", "playlist"),
        (b"v=0\no=-", "session"),
        (b"%PDF-1.7", "PDF"),
        (b"<?xml version='1.0'?><svg>", "SVG"),
        (b"  <svg xmlns=", "SVG"),
        (b"<MPD ", "XML"),
    ],
)
def test_refused_kinds_are_named(data: bytes, wanted: str) -> None:
    kind = structure.refused_kind(reading(data))
    assert kind
    assert wanted in kind


@given(st.binary(max_size=200))
def test_any_bytes_are_accepted_as_a_structure(data: bytes) -> None:
    for start in (
        b"",
        b"\0\0\0\x08ftyp",
        b"RIFF",
        b"\x1a\x45\xdf\xa3",
        b"ID3",
        b"GIF89a",
        b"\xff\xd8\xff",
    ):
        whole = start + data
        assert missing(whole) >= 0
        measure(whole)


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


JPEG = (
    b"\xff\xd8\xff\xe0\0\x04ab\xff\xc4\0\x03x\xff\xc2\0\x0b\x08\x01\x2c\x01\x90\x03abc"
    b"\xff\xda\0\x02data\xff\xd9"
)
GIF = (
    b"GIF89a\x10\0\x20\0\x80\0\0" + bytes(6) + b"!\xf9\x04\0\0\0\0\0"
    + 2 * (b"," + bytes(8) + b"\0\x02\x01x\0") + b";"
)  # fmt: skip
WEBP = (
    b"RIFF"
    + struct.pack("<I", 4 + 18 + 2 * 8)
    + b"WEBPVP8X\x0a\0\0\0\0\0\0\0\x09\0\0\x13\0\0"
    + 2 * (b"ANMF\0\0\0\0")
)
AVIF = box(b"ftyp", b"avif") + box(b"meta", box(b"ispe", bytes(4) + struct.pack(">II", 64, 48)))


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (png(30, 20), Still("png", 30, 20)),
        (JPEG, Still("jpeg", 400, 300)),
        (GIF, Still("gif", 16, 32, 2)),
        (WEBP, Still("webp", 10, 20, 2)),
        (AVIF, Still("avif", 64, 48)),
    ],
)
def test_only_complete_images_are_measured(data: bytes, wanted: Still) -> None:
    assert measure(data) == wanted
    assert measure(data[:-1]) is None
    assert measure(data[: len(data) // 2]) is None


def test_damaged_headers_of_images_do_no_harm(tmp_path: Path) -> None:
    far = b"\xff" * 8
    for name, content in {
        "big.tif": b"II+\0\x08\0\0\0" + far,
        "short.tif": b"II*\0" + far[:4],
        "empty.tif": b"MM\0*\0\0\0\x08\0\0",
        "box.heic": b"\0\0\0\x10ftypheic\0\0\0\0" + b"\0\0\0\1free" + far + b"\0\0\0\x09meta\0",
        "meta.avif": b"\0\0\0\x10ftypavif\0\0\0\0\xff\xff\xff\xffmeta" + b"\0\0\0\x0cipma" + far,
        "chunk.png": b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffcICP" + far,
        "segment.jpg": b"\xff\xd8\xff\xe0\0\0" + far,
        "header.bmp": b"BM" + far + far[:4] + b"\x28\0\0\0" + far * 6,
    }.items():
        file = tmp_path / name
        file.write_bytes(content)
        fd = os.open(file, os.O_RDONLY)
        try:
            read = structure.reader(fd)
            tiff.first_page(read)
            colour_tags.colour_tags(read)
            image_kinds.without_loader(read)
            image_layout.is_lossless_webp(read)
            image_layout.is_full_chroma_heif(read)
            jpeg.is_motion_jpeg(read)
            assert (bmp.header(read) is not None) == name.endswith("bmp")
        finally:
            os.close(fd)


def test_names_of_colours_become_code_points() -> None:
    assert colour_tags.by_name("smpte432", "iec61966-2-1") == colour_tags.ColourTags(12, 13)
    assert colour_tags.by_name("bt2020", "smpte2084") == colour_tags.ColourTags(9, 16)
    assert colour_tags.by_name("smpte432", "unknown") == colour_tags.ColourTags(12, None)
    assert colour_tags.by_name("", "reserved") is None


def test_how_the_pixels_of_a_webp_and_a_heif_are_stored() -> None:
    def webp(*chunks: bytes) -> bytes:
        return b"RIFF\xff\0\0\0WEBP" + b"".join(chunks)

    extended, profile = b"VP8X\x0a\0\0\0" + bytes(10), b"ICCP\x03\0\0\0abc\0"
    for data, lossless in (
        (webp(b"VP8L\x09\0\0\0"), True),
        (webp(b"VP8 \x09\0\0\0"), False),
        (webp(extended, profile, b"VP8L\x09\0\0\0"), True),
        (webp(extended, profile, b"ALPH\x01\0\0\0a\0", b"VP8 \x09\0\0\0"), False),
        (webp(extended, b"ANMF\x40\0\0\0"), False),
        (webp(extended), False),
        (b"VP8L" * 10, False),
    ):
        assert image_layout.is_lossless_webp(reading(data)) is lossless

    def av1(flags: int) -> bytes:
        return b"\0\0\0\x20ftypavif\0\0\0\x10av1C\x81\0" + bytes([flags]) + bytes(9)

    def hevc(chroma: int) -> bytes:
        return b"\0\0\0\x20ftypheic\0\0\0\x20hvcC\x01" + bytes(15) + bytes([0xFC | chroma]) * 8

    for data, full in (
        (av1(0b01100), False),
        (av1(0b01000), False),
        (av1(0b00000), True),
        (av1(0b01100) + av1(0), True),
        (av1(0b11100), False),
        (hevc(1), False),
        (hevc(3), True),
        (hevc(0), False),
        (b"av1C", False),
    ):
        assert image_layout.is_full_chroma_heif(reading(data)) is full
