"""Joins mono tracks to audio with one channel per track, while two tools run.

One tool decodes the tracks to a pipe each. A thread takes one sample of each track in turn, and
writes them as a WAV file to the pipe that the other tool reads. No file is written.

A tool that cannot write the samples of one track reads no more of the file, so it finds none of
another track. If a track has no samples for long, it is taken for silent, so that both go on.
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
_MAX_WAITING: Final = 16 << 20
"""Bytes, of all tracks. A track that is further ahead of another one is not read. For two tracks at
48 kHz this is almost a minute, and recordings store their tracks closer together than that."""
_FIRST_WAIT_SECONDS: Final = 10.0
_NEXT_WAIT_SECONDS: Final = 1.0
"""How long to wait for a track before it is taken for silent, the first time and then."""
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
        # How many bytes of silence stand for samples that had not come.
        self._padded = [0] * count
        self._most = _MAX_WAITING // count
        self.lost = False
        """Whether one of these samples was not silent, when it came."""

    def add(self, number: int, data: bytes) -> None:
        """Add samples of a track. No data is its end."""
        self._ended[number] |= not data
        late, new = data[: self._padded[number]], data[self._padded[number] :]
        self.lost |= bool(late.strip(b"\0"))
        self._padded[number] -= len(late)
        self._waiting[number] += new

    @property
    def wait_seconds(self) -> float | None:
        """How long to wait for samples before :meth:`pad`. None for as long as it takes."""
        if all(len(waiting) < self._most for waiting in self._waiting):
            return None
        lacking = [n for n in self.wanted() if not self._waiting[n]]
        are_silent = all(self._padded[number] for number in lacking)
        return _NEXT_WAIT_SECONDS if are_silent else _FIRST_WAIT_SECONDS

    def pad(self) -> None:
        """Take the tracks that lag behind the longest one for silent up to its end."""
        longest = max(map(len, self._waiting))
        for number, waiting in enumerate(self._waiting):
            if not self._ended[number]:
                self._padded[number] += longest - len(waiting)
                waiting.extend(bytes(longest - len(waiting)))

    def wanted(self) -> list[int]:
        """The tracks to read next."""
        return [
            number
            for number, waiting in enumerate(self._waiting)
            if not self._ended[number] and len(waiting) < self._most
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

    ``stopped`` says that the reader of the joined audio wanted no more. ``apart`` says that the
    tracks are stored too far apart to be joined.
    """

    def __init__(self, sources: Sequence[int], target: int, sample_rate: int) -> None:
        self.stopped = self.apart = False
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
            seconds = tracks.wait_seconds
            ready = poller.poll(None if seconds is None else seconds * 1000)
            for fd, _ in ready:
                tracks.add(wanted[fd], os.read(fd, _READ_SIZE))
            if not ready:
                tracks.pad()
            if tracks.lost:
                self.apart = True
                return
            self._write(tracks.take())

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._target, data) :]
