"""Runs commands inside a container for the tests: JSON lines in, JSON lines out.

Starts as the main process of a long-lived container, so that a case does not cost a container
start. Measures what only a process inside can measure: the time from start to exit, memory and
tasks of everything that the command starts, and the processes it leaves. Imports the standard
library only, from the image's Python and from PYTHONPATH. The commands do not inherit PYTHONPATH.

In the image of tools, it also decodes images with the library of libvips. To start the program
``vips`` takes ten times as long as to decode one.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

SAMPLE_SECONDS = 0.02
# Constants of libvips: VIPS_INTERPRETATION_CMYK, VIPS_INTERPRETATION_sRGB, VIPS_FORMAT_UCHAR.
CMYK, SRGB, UCHAR = 15, 22, 0
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


class Sampler(threading.Thread):
    """Peak of memory and of tasks over a process and all its descendants."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.stopped = threading.Event()
        self.peak_kib = 0
        self.peak_tasks = 0

    def run(self) -> None:
        while not self.stopped.wait(SAMPLE_SECONDS):
            family = descendants(self.root)
            self.peak_kib = max(self.peak_kib, sum(resident_kib(pid) for pid in family))
            self.peak_tasks = max(self.peak_tasks, *(tasks(pid) for pid in family), 0)


def parents() -> dict[int, int]:
    """Parent of every process of the container."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                stat = (entry / "stat").read_text()
                found[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return found


def descendants(root: int) -> list[int]:
    """The process and all its descendants."""
    tree = parents()
    family = [root]
    for pid in family:
        family.extend(child for child, parent in tree.items() if parent == pid)
    return family


def resident_kib(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024
    return 0


def tasks(pid: int) -> int:
    with contextlib.suppress(OSError):
        return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
    return 0


def command_lines() -> dict[int, str]:
    """The processes in the container other than this agent, without zombies."""
    lines = {}
    for pid in parents():
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if text and pid not in (1, os.getpid()):
                lines[pid] = text
    return lines


class Server:
    """One thread per request, so that a run can be signalled before it ends."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: dict[int, int] = {}

    def answer(self, number: int, **body: Any) -> None:
        with self.lock:
            sys.stdout.write(json.dumps({"id": number, **body}) + "\n")
            sys.stdout.flush()

    def handle(self, request: dict[str, Any]) -> None:
        number = request["id"]
        try:
            if request["op"] == "run":
                self.answer(number, event="ended", **self.run(number, request))
            elif request["op"] == "pixels":
                self.answer(number, event="ended", **pixels(request["path"], request["page"]))
            elif request["op"] == "signal":
                self.signal(request)
                self.answer(number, event="ended")
            else:
                self.answer(number, event="ended", processes=command_lines())
        except Exception as error:
            self.answer(number, event="ended", error=f"{type(error).__name__}: {error}")

    def signal(self, request: dict[str, Any]) -> None:
        family = descendants(self.running[request["target"]])
        for pid in family[1:] if request["children"] else family[:1]:
            os.kill(pid, request["signal"])

    def run(self, number: int, request: dict[str, Any]) -> dict[str, Any]:
        out, err = os.memfd_create("out"), os.memfd_create("err")
        began = time.monotonic()
        process = subprocess.Popen(
            request["argv"],
            env={**CLEAN, **request["env"]},
            cwd=request["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        self.running[number] = process.pid
        self.answer(number, event="started")
        overdue = threading.Timer(request["limit"], os.killpg, (process.pid, signal.SIGKILL))
        overdue.start()
        sampler = Sampler(process.pid) if request["sample"] else None
        if sampler:
            sampler.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        timed_out = not overdue.is_alive()
        overdue.cancel()
        if sampler:
            sampler.stopped.set()
            sampler.join()
        return {
            "code": process.returncode,
            "stdout": encoded(out),
            "stderr": encoded(err),
            "wall": wall,
            "timed_out": timed_out,
            "largest_kib": usage.ru_maxrss,
            "cpu": usage.ru_utime + usage.ru_stime,
            "peak_kib": sampler.peak_kib if sampler else None,
            "peak_tasks": sampler.peak_tasks if sampler else None,
        }


@functools.cache
def library() -> Any:
    """libvips, which keeps nothing: the tests replace files."""
    vips = ctypes.CDLL("libvips.so.42")
    vips.vips_image_new_from_file.restype = ctypes.c_void_p
    vips.vips_array_double_new.restype = ctypes.c_void_p
    vips.vips_image_write_to_memory.restype = ctypes.c_void_p
    vips.vips_error_buffer.restype = ctypes.c_char_p
    if vips.vips_init(b"agent"):
        raise RuntimeError("libvips does not start")
    vips.vips_cache_set_max(0)
    return vips


def pixels(path: str, page: int) -> dict[str, Any]:
    """Width, height and the pixels of one page: red, green and blue, 8 bits each.

    A green background is behind transparent pixels.
    """
    vips = library()
    images: list[ctypes.c_void_p] = []

    def checked(image: int | None) -> ctypes.c_void_p:
        if not image:
            text = vips.vips_error_buffer().decode(errors="replace")
            vips.vips_error_clear()
            raise RuntimeError(text)
        images.append(ctypes.c_void_p(image))
        return images[-1]

    def load(name: str) -> ctypes.c_void_p:
        return checked(vips.vips_image_new_from_file(name.encode(), None))

    def apply(operation: str, image: ctypes.c_void_p, *arguments: object) -> ctypes.c_void_p:
        made = ctypes.c_void_p()
        failed = getattr(vips, f"vips_{operation}")(image, ctypes.byref(made), *arguments, None)
        return checked(None if failed else made.value)

    try:
        image = load(path)
        if vips.vips_image_get_n_pages(image) > 1:
            image = load(f"{path}[page={page}]")
        bands, space = (
            vips.vips_image_get_bands(image),
            vips.vips_image_get_interpretation(image),
        )
        if bands in {2, 4} and space != CMYK:
            colour = vips.vips_array_double_new((ctypes.c_double * 3)(0, 255, 0), 3)
            image = apply("flatten", image, b"background", ctypes.c_void_p(colour))
            vips.vips_area_unref(ctypes.c_void_p(colour))
        image = apply("cast", apply("colourspace", image, SRGB), UCHAR)
        size = ctypes.c_size_t()
        place = vips.vips_image_write_to_memory(image, ctypes.byref(size))
        if not place:
            checked(None)
        content = ctypes.string_at(place, size.value)
        vips.g_free(ctypes.c_void_p(place))
        return {
            "width": vips.vips_image_get_width(image),
            "height": vips.vips_image_get_height(image),
            "pixels": base64.b64encode(content).decode(),
        }
    finally:
        for each in images:
            vips.g_object_unref(each)
        vips.vips_thread_shutdown()


def encoded(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(descriptor, "rb") as stream:
        return base64.b64encode(stream.read()).decode()


def main() -> None:
    worker = os.fork()
    if worker:
        # The first process of a container must reap orphans.
        while os.wait()[0] != worker:
            pass
        return
    server = Server()
    for line in sys.stdin:
        threading.Thread(target=server.handle, args=(json.loads(line),), daemon=True).start()


main()
