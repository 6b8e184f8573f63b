"""The command that confines a tool, and the programs of the seccomp filters."""

from __future__ import annotations

import importlib.util
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from media_converter.running.confinement import READ, READ_WRITE, Access, Confinement

BUILD = Path(__file__).parents[3] / "converter-module" / "build"
ARGV = ("/opt/ffmpeg/bin/ffmpeg", "-i", "file:/proc/self/fd/3")
OWN = (Access("/proc/self/fd/3", READ), Access("/proc/self/fd/4", READ_WRITE))


def rules(abi: int) -> dict[str, set[str]]:
    """The rights of each path in the command for a version of Landlock."""
    command = Confinement(abi, ("/usr/lib/tools",)).command(ARGV, OWN)
    found = {}
    for option, value in pairwise(command):
        if option == "--landlock-rule":
            kind, rights, path = value.split(":")
            assert kind == "path-beneath"
            found[path] = set(rights.split(","))
    return found


def test_a_tool_gets_rights_on_its_own_files_only() -> None:
    loader = next(path for path in rules(7) if "/ld-linux" in path)
    assert rules(7) == {
        "/opt/ffmpeg/bin/ffmpeg": {"execute", "read-file"},
        loader: {"execute", "read-file"},
        "/etc/ld.so.cache": {"read-file"},
        "/usr/lib/tools": {"read-file", "read-dir"},
        "/proc/self/fd/3": {"read-file"},
        "/proc/self/fd/4": {"read-file", "write-file", "truncate"},
    }


def test_every_command_ends_with_its_parent_and_filters_calls() -> None:
    for abi in (0, 1, 7):
        command = Confinement(abi).command(ARGV, OWN)
        assert command[-len(ARGV) :] == ARGV
        options = command[: -len(ARGV)]
        assert options[:4] == ("/usr/bin/setpriv", "--no-new-privs", "--pdeathsig", "KILL")
        assert options[4:6] == ("--seccomp-filter", "/opt/converter/filters/tool")
        assert options[-1] == "--"


@pytest.mark.parametrize(
    ("abi", "handled", "missing"),
    [(1, 13, {"refer", "truncate"}), (2, 14, {"truncate"}), (3, 15, set()), (9, 15, set())],
)
def test_only_rights_that_the_kernel_knows_are_named(
    abi: int, handled: int, missing: set[str]
) -> None:
    command = Confinement(abi).command(ARGV, OWN)
    access = command[command.index("--landlock-access") + 1]
    named = set(access.removeprefix("fs:").split(","))
    assert len(named) == handled
    assert not named & missing
    assert not any(missing & rights for rights in rules(abi).values())


def test_without_landlock_there_are_no_rules() -> None:
    assert not [word for word in Confinement(0).command(ARGV, OWN) if "landlock" in word]


@pytest.mark.parametrize(
    ("abi", "text"), [(7, "ABI 7"), (2, "does not cover truncation"), (0, "no Landlock")]
)
def test_the_log_says_what_confines_the_tools(abi: int, text: str) -> None:
    assert text in str(Confinement(abi))


def load_filters() -> Any:
    spec = importlib.util.spec_from_file_location("filters", BUILD / "seccomp_filters.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FILTERS = load_filters()
X86_64 = 0xC000003E
ALLOW, ENOSYS, KILL_PROCESS = 0x7FFF0000, 0x00050026, 0x80000000
NUMBERS = {name: number for number, name in enumerate({**FILTERS.CONVERTER, **FILTERS.TOOL})}


def run(program: bytes, number: int, *arguments: int, architecture: int = X86_64) -> int:
    """What the kernel does with a system call. An interpreter of the instructions in use."""
    padded = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("<IIQ6Q", number, architecture, 0, *padded)
    instructions = list(struct.iter_unpack("<HBBI", program))
    loaded = place = 0
    while True:
        code, then, otherwise, value = instructions[place]
        place += 1
        if code == 0x20:
            (loaded,) = struct.unpack_from("<I", data, value)
        elif code == 0x06:
            return int(value)
        else:
            tests = {0x15: loaded == value, 0x45: bool(loaded & value)}
            place += then if tests[code] else otherwise


def compiled(name: str) -> bytes:
    program: bytes = FILTERS.compile_filter(getattr(FILTERS, name), NUMBERS, "x86_64")
    return program


@pytest.mark.parametrize("name", ["CONVERTER", "TOOL"])
def test_a_filter_allows_what_it_lists_and_nothing_else(name: str) -> None:
    program, listed = compiled(name), getattr(FILTERS, name)
    assert len(program) // 8 <= 4096, "the kernel's limit"
    for call, number in NUMBERS.items():
        if listed.get(call, "absent") is None:
            assert run(program, number) == ALLOW, call
        elif call not in listed:
            assert run(program, number) == ENOSYS, call
    for number in (len(NUMBERS), 1000, 0x40000000, 0x40000001, 0xFFFFFFFF):
        assert run(program, number) == ENOSYS
    assert run(program, NUMBERS["read"], architecture=0x40000003) == KILL_PROCESS


@pytest.mark.parametrize(
    ("name", "call", "arguments", "allowed"),
    [
        ("TOOL", "clone", (0x003D0F00,), True),  # a thread
        ("TOOL", "clone", (0x01200011,), False),  # a process
        ("TOOL", "clone", (0x4111,), False),  # vfork
        ("CONVERTER", "clone", (0x4111,), True),
        ("CONVERTER", "clone", (0x10000011,), False),  # a user namespace
        ("CONVERTER", "clone", (0x40000011,), False),  # a network namespace
        ("TOOL", "prctl", (15, 1), True),
        ("TOOL", "prctl", (1, 9), True),  # dies with the parent
        ("TOOL", "prctl", (1, 0), False),
        ("TOOL", "prctl", (4, 1), False),  # PR_SET_DUMPABLE
        ("TOOL", "prlimit64", (0, 7), True),
        ("TOOL", "prlimit64", (1, 7), False),
        ("TOOL", "tgkill", (9, 9, 6), False),  # abort()
        ("CONVERTER", "tgkill", (9, 9, 15), True),
        ("TOOL", "fcntl", (3, 1030), True),  # F_DUPFD_CLOEXEC
        ("TOOL", "fcntl", (3, 8), False),  # F_SETOWN
        ("TOOL", "fcntl", (3, 10), False),  # F_SETSIG
        ("TOOL", "fcntl", (3, 15), False),  # F_SETOWN_EX
        ("CONVERTER", "fcntl", (3, 8), True),
        ("TOOL", "ioctl", (1, 0x5413), True),
        ("TOOL", "ioctl", (0, 0x5412), False),  # types into a terminal
        ("CONVERTER", "ioctl", (0, 0x5412), False),
    ],
)
def test_arguments_decide(name: str, call: str, arguments: tuple[int, ...], allowed: bool) -> None:
    assert (run(compiled(name), NUMBERS[call], *arguments) == ALLOW) is allowed


def test_numbers_are_read_from_the_headers() -> None:
    macros = """
#define __NR_read 0
#define __NR3264_fstat 80
#define __NR_fstat __NR3264_fstat
#define __NR_missing __NR_other
#define SYS_read __NR_read
"""
    assert FILTERS.read_numbers(macros) == {"read": 0, "fstat": 80}


def test_a_misspelt_name_fails_the_build() -> None:
    with pytest.raises(SystemExit, match="opem"):
        FILTERS.compile_filter({"opem": None}, NUMBERS, "x86_64")
