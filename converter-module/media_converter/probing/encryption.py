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
_MIN_SHARE: Final = 0.5
_FIRST_MEDIA_PID: Final = 32
_NULL_PID: Final = 0x1FFF


def by_structure(read: ReadAt, size_bytes: int) -> bool:
    """Whether the file says that its media is encrypted.

    Matroska is not looked at: ffprobe reports its encryption.
    """
    head = read(0, 16)
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
    data = read(0, _TS_LOOK_BYTES)
    flags = []
    for at in range(first, len(data) - 4, size):
        pid = int.from_bytes(data[at + 1 : at + 3], "big") & 0x1FFF
        has_payload = data[at] == 0x47 and data[at + 3] & 0x10
        if has_payload and _FIRST_MEDIA_PID <= pid < _NULL_PID:
            flags.append(data[at + 3] >> 6 != 0)
    return bool(flags) and sum(flags) > _MIN_SHARE * len(flags)
