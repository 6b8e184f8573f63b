"""Finds out whether the media of a file is encrypted, from its structure and from ffprobe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from media_converter.probing import isobmff, transport
from media_converter.probing.isobmff import ReadAt

_TS_LOOK_BYTES: Final = 4 << 20
_MAP_LOOK_BYTES: Final = 1 << 20
_ASF: Final = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_LOOK_BYTES: Final = 65_536
_ASF_ENCRYPTION: Final = (
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"),
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"),
)
_EBML: Final = b"\x1a\x45\xdf\xa3"
_EBML_LOOK_BYTES: Final = 1 << 20
# From the segment to the encryption of a track, by the numbers of elements in Matroska.
_EBML_PARENTS: Final = (0x18538067, 0x1654AE6B, 0xAE, 0x6D80, 0x6240, 0x5035)
_EBML_ALGORITHM: Final = 0x47E1
_EBML_CLUSTER: Final = 0x1F43B675
_MIN_SHARE: Final = 0.5
_SYNC: Final = 0x47
_PROGRAM_MAP: Final = 2
_ENCRYPTED_TYPES: Final = frozenset({0xCF, 0xDB})
"""AAC and H.264 with encrypted samples."""
# A pack of an MPEG program stream, and how long it is on a DVD.
_PACK: Final = b"\0\0\1\xba"
_PACK_BYTES: Final = 2048
_PLACES: Final = 4
_MIN_PACK_SHARE: Final = 0.05
_FIRST_MEDIA_PID: Final = 32
_NULL_PID: Final = 0x1FFF


def by_structure(read: ReadAt, size_bytes: int) -> bool:
    """Whether the file says that its media is encrypted."""
    head = read(0, 16)
    if head[:4] == _EBML:
        # ffprobe reports the encryption only if it can take the packets apart.
        return _has_encrypted_track(read(0, _EBML_LOOK_BYTES))
    if head == _ASF:
        header = read(0, _ASF_LOOK_BYTES)
        return any(mark in header for mark in _ASF_ENCRYPTION)
    if head[:4] == _PACK:
        return _has_scrambled_packs(read, size_bytes)
    shape = transport.shape(read)
    if shape:
        return _is_scrambled(read, *shape) or _has_sample_encryption(read, *shape)
    media = [t for t in isobmff.tracks(read, size_bytes) if t.handler in (b"vide", b"soun")]
    return any(track.is_encrypted for track in media)


def _has_sample_encryption(read: ReadAt, size: int, first: int) -> bool:
    """Whether a program map names a stream of which the samples are encrypted (HLS)."""
    data = read(0, _MAP_LOOK_BYTES)
    for at in range(first, len(data) - 187, size):
        if data[at] != _SYNC or not data[at + 1] & 0x40 or not data[at + 3] & 0x10:
            continue
        start = at + 4 + (1 + data[at + 4] if data[at + 3] & 0x20 else 0)
        if start < at + 188:
            section = data[start + 1 + data[start] : at + 188]
            if _ENCRYPTED_TYPES & set(_stream_types(section)):
                return True
    return False


def _stream_types(section: bytes) -> Iterator[int]:
    """The types of the streams in a program map. None for other content."""
    if len(section) < 12 or section[0] != _PROGRAM_MAP or section[1] & 0xC0 != 0x80:
        return
    end = 3 + (int.from_bytes(section[1:3], "big") & 0xFFF)
    if not transport.has_valid_checksum(section[:end]):
        return
    at = 12 + (int.from_bytes(section[10:12], "big") & 0xFFF)
    while at + 5 <= end - 4:
        yield section[at]
        at += 5 + (int.from_bytes(section[at + 3 : at + 5], "big") & 0xFFF)


def _has_scrambled_packs(read: ReadAt, size_bytes: int) -> bool:
    """Whether packets of a DVD are scrambled, at a few places. Many of such a video are not."""
    flags: list[bool] = []
    for place in range(_PLACES):
        at = size_bytes * place // _PLACES // _PACK_BYTES * _PACK_BYTES
        flags += _scrambled_packs(read(at, _TS_LOOK_BYTES // _PLACES))
    return sum(flags) > _MIN_PACK_SHARE * len(flags)


def _scrambled_packs(data: bytes) -> Iterator[bool]:
    """Whether the packet with media in each pack is scrambled."""
    for at in range(0, len(data) - _PACK_BYTES + 1, _PACK_BYTES):
        start = at + 14 + (data[at + 13] & 7)
        is_media = data[start + 3] == 0xBD or 0xC0 <= data[start + 3] < 0xF0
        if data[at : at + 4] != _PACK or data[start : start + 3] != b"\0\0\1" or not is_media:
            continue
        if data[start + 6] & 0xC0 == 0x80:
            yield data[start + 6] & 0x30 != 0


def _is_scrambled(read: ReadAt, size: int, first: int) -> bool:
    """Whether most packets with media have the bits that say that they are scrambled."""
    flags = [flag for found in _scrambling(read, size, first).values() for flag in found]
    return bool(flags) and sum(flags) > _MIN_SHARE * len(flags)


def _scrambling(read: ReadAt, size: int, first: int) -> dict[int, list[bool]]:
    """Whether each packet with media is scrambled, by the number of its stream."""
    data = read(0, _TS_LOOK_BYTES)
    flags: dict[int, list[bool]] = {}
    for at in range(first, len(data) - 4, size):
        pid = int.from_bytes(data[at + 1 : at + 3], "big") & 0x1FFF
        has_payload = data[at] == 0x47 and data[at + 3] & 0x10
        if has_payload and _FIRST_MEDIA_PID <= pid < _NULL_PID:
            flags.setdefault(pid, []).append(data[at + 3] >> 6 != 0)
    return flags


def has_scrambled_stream(read: ReadAt) -> bool:
    """Whether most packets of any stream of a transport stream are scrambled."""
    shape = transport.shape(read)
    flags = _scrambling(read, *shape) if shape else {}
    return any(sum(found) > _MIN_SHARE * len(found) for found in flags.values())


def _has_encrypted_track(data: bytes) -> bool:
    """Whether a Matroska file says that it has an encrypted track."""
    at, end = 0, len(data)
    while at < end:
        number, at = _ebml_number(data, at, keeps_mark=True)
        length, at = _ebml_number(data, at)
        if number == _EBML_CLUSTER:
            return False
        if number == _EBML_ALGORITHM and any(data[at : at + min(length, 8)]):
            return True
        if number not in _EBML_PARENTS:
            at += length
    return False


def _ebml_number(data: bytes, at: int, *, keeps_mark: bool = False) -> tuple[int, int]:
    """A number of variable length, and the offset after it."""
    first = data[at : at + 1]
    width = 9 - first[0].bit_length() if first else 9
    if width > 8:
        return 0, len(data)
    value = int.from_bytes(data[at : at + width], "big")
    return value if keeps_mark else value & ((1 << 7 * width) - 1), at + width
