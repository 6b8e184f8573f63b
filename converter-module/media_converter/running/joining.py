"""Joins mono tracks to sound with one channel per track, while two tools run.

One tool decodes the tracks to a pipe each. A thread takes one sample of each track in turn, and
writes them as a WAV file to the pipe that the other tool reads. No file is written.
"""

from __future__ import annotations

import _thread
import os
import select
import struct
from collections.abc import Sequence
from typing import Final

_SAMPLE_BYTES: Final = 3
_READ_SIZE: Final = 65_536
_MAX_AHEAD: Final = 8 << 20
"""Bytes. A track that is further ahead of another one is not read. In memory, a minute of sound has
9 MB, and the tracks of a recording are stored closer together than that."""
_UNKNOWN_SIZE: Final = 0xFFFFFFFF
_PCM: Final = 1


def wav_header(channels: int, sample_rate: int) -> bytes:
    """The header of a WAV file of 24 bits whose length is not known."""
    block = channels * _SAMPLE_BYTES
    form = struct.pack(
        "<HHIIHH", _PCM, channels, sample_rate, sample_rate * block, block, 8 * _SAMPLE_BYTES
    )
    start = b"RIFF" + struct.pack("<I", _UNKNOWN_SIZE) + b"WAVE"
    return (
        start + b"fmt " + struct.pack("<I", len(form)) + form
        + b"data" + struct.pack("<I", _UNKNOWN_SIZE)
    )  # fmt: skip


def interleave(tracks: Sequence[bytes]) -> bytes:
    """One sample of each track in turn. All tracks are equally long."""
    step = len(tracks) * _SAMPLE_BYTES
    joined = bytearray(len(tracks) * len(tracks[0]))
    for number, track in enumerate(tracks):
        for byte in range(_SAMPLE_BYTES):
            joined[number * _SAMPLE_BYTES + byte :: step] = track[byte::_SAMPLE_BYTES]
    return bytes(joined)


class Tracks:
    """The samples that were decoded, but not joined, of each track.

    Of tracks that are not equally long, the end of the shorter ones is silence.
    """

    def __init__(self, count: int) -> None:
        self._waiting = [bytearray() for _ in range(count)]
        self._ended = [False] * count

    def add(self, number: int, data: bytes) -> None:
        """Add samples of a track. No data is its end."""
        self._waiting[number] += data
        self._ended[number] |= not data

    def wanted(self) -> list[int]:
        """The tracks to read next."""
        return [
            number
            for number, waiting in enumerate(self._waiting)
            if not self._ended[number] and len(waiting) < _MAX_AHEAD
        ]

    @property
    def have_ended(self) -> bool:
        """Whether there will be no more samples."""
        return all(self._ended)

    def take(self) -> bytes:
        """Join what is there of all tracks."""
        lengths = [len(waiting) for waiting in self._waiting]
        going = [length for length, ended in zip(lengths, self._ended, strict=True) if not ended]
        size = min(going) if going else max(lengths)
        size -= size % _SAMPLE_BYTES
        if not size:
            return b""
        parts = [bytes(waiting[:size]).ljust(size, b"\0") for waiting in self._waiting]
        for waiting in self._waiting:
            del waiting[:size]
        return interleave(parts)


class Joiner:
    """Joins what it reads from pipes, in a thread, and closes all of them at the end.

    ``stopped`` says that the reader of the joined sound wanted no more.
    """

    def __init__(self, sources: Sequence[int], target: int, sample_rate: int) -> None:
        self.stopped = False
        self._sources = tuple(sources)
        self._target = target
        self._header = wav_header(len(self._sources), sample_rate)
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        try:
            self._join()
        except BrokenPipeError:
            self.stopped = True
        finally:
            for fd in (*self._sources, self._target):
                os.close(fd)

    def _join(self) -> None:
        tracks = Tracks(len(self._sources))
        self._write(self._header)
        while not tracks.have_ended:
            poller = select.poll()
            wanted = {self._sources[number]: number for number in tracks.wanted()}
            for fd in wanted:
                poller.register(fd, select.POLLIN)
            for fd, _ in poller.poll():
                tracks.add(wanted[fd], os.read(fd, _READ_SIZE))
            self._write(tracks.take())

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._target, data) :]
