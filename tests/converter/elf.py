"""Reads from the headers of an ELF file how it was linked and compiled."""

from __future__ import annotations

import struct
from dataclasses import dataclass

EXECUTABLE, SHARED = 2, 3
_DYNAMIC, _STACK, _RELRO = 2, 0x6474E551, 0x6474E552
_FLAGS, _FLAGS_1, _BIND_NOW_TAG = 30, 0x6FFFFFFB, 24
_BIND_NOW, _NOW, _PIE = 0x8, 0x1, 0x08000000
_EXECUTABLE_SEGMENT = 0x1


@dataclass(frozen=True, slots=True)
class Hardening:
    """What makes an error in a program harder to exploit."""

    position_independent: bool
    read_only_addresses: bool
    bound_at_start: bool
    stack_not_executable: bool
    stack_protector: bool
    fortified: bool


def read(data: bytes) -> Hardening:
    """The hardening of a 64-bit little-endian file."""
    assert data[:6] == b"\x7fELF\x02\x01"
    (kind,) = struct.unpack_from("<H", data, 16)
    offset, _, _, _, size, count = struct.unpack_from("<QQIHHH", data, 32)
    segments = [
        struct.unpack_from("<IIQQQQQ", data, offset + index * size) for index in range(count)
    ]
    tags: dict[int, int] = {}
    for segment in segments:
        if segment[0] == _DYNAMIC:
            body = data[segment[2] : segment[2] + segment[5]]
            tags |= dict(struct.iter_unpack("<QQ", body))
    bound = bool(
        _BIND_NOW_TAG in tags or tags.get(_FLAGS, 0) & _BIND_NOW or tags.get(_FLAGS_1, 0) & _NOW
    )
    stacks = [segment[1] for segment in segments if segment[0] == _STACK]
    return Hardening(
        position_independent=kind == SHARED and bool(tags.get(_FLAGS_1, 0) & _PIE),
        read_only_addresses=any(segment[0] == _RELRO for segment in segments),
        bound_at_start=bound,
        stack_not_executable=bool(stacks) and not any(s & _EXECUTABLE_SEGMENT for s in stacks),
        stack_protector=b"\0__stack_chk_fail\0" in data,
        fortified=any(name in data for name in (b"\0__memcpy_chk\0", b"\0__snprintf_chk\0")),
    )
