"""Finds out whether the media of a file is encrypted, from its structure and from ffprobe."""

from __future__ import annotations

from typing import Final

from media_converter.probing import isobmff, transport
from media_converter.probing.isobmff import ReadAt

_TS_LOOK_BYTES: Final = 4 << 20
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
    shape = transport.shape(read)
    if shape:
        return _is_scrambled(read, *shape)
    media = [t for t in isobmff.tracks(read, size_bytes) if t.handler in (b"vide", b"soun")]
    return any(track.is_encrypted for track in media)


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
