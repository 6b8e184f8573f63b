"""Compiles the two seccomp filters during the image build, into files that setpriv loads.

Both list the system calls that are allowed. Every other system call fails with ENOSYS, as if the
kernel did not have it, so that a library which tries a newer one falls back to an older one.

The numbers of the system calls come from the compiler's headers: this script reads what
``gcc -E -dM`` prints for ``<sys/syscall.h>``. A filter is a program for the kernel's classic BPF
machine. The kernel runs it on ``struct seccomp_data``: the number of the system call, the
architecture, the instruction pointer and six arguments.
"""

from __future__ import annotations

import pathlib
import platform
import re
import struct
import sys
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

# include/uapi/linux/audit.h
ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

LOAD: Final = 0x20
JUMP_IF_EQUAL: Final = 0x15
JUMP_IF_ANY_BIT: Final = 0x45
RETURN: Final = 0x06
NUMBER_OFFSET: Final = 0
ARCHITECTURE_OFFSET: Final = 4
ARGUMENTS_OFFSET: Final = 16

ALLOW: Final = 0x7FFF0000
ENOSYS: Final = 0x00050000 | 38
KILL_PROCESS: Final = 0x80000000

CLONE_THREAD: Final = 0x00010000
CLONE_NEW_NAMESPACE: Final = 0x7E020000


class Rule(NamedTuple):
    """Allows a system call only for some values of its arguments, which have at most 32 bits.

    Allows it if ``argument`` is one of ``values``, has a bit of ``any_of``, or has no bit of
    ``none_of``. ``pairs`` are further values, each with the one value that the next argument must
    have.
    """

    argument: int
    values: tuple[int, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()
    any_of: int = 0
    none_of: int = 0


# What a C library and a program that reads, computes and writes need. No call in this table names
# another process, changes a file's name, owner or mode, or creates a process. After setpriv has
# loaded the filter, it gives up capabilities and applies Landlock rules. Both only take rights.
_TOOL_CALLS: Final = """
access arch_prctl brk capget capset clock_getres clock_gettime clock_nanosleep close dup dup2 dup3
eventfd2 execve exit exit_group faccessat faccessat2 fadvise64 fallocate fdatasync fstat
fstatfs fsync ftruncate futex getcpu getcwd getdents64 getegid geteuid getgid getpid getppid
getrandom getrusage gettid gettimeofday getuid landlock_add_rule landlock_create_ruleset
landlock_restrict_self lseek lstat madvise membarrier mincore mmap mprotect mremap msync munmap
nanosleep newfstatat open openat pipe pipe2 poll ppoll pread64 preadv pselect6 pwrite64 pwritev read
readlink readlinkat readv restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask
rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_get_priority_max sched_get_priority_min
sched_getaffinity sched_getparam sched_getscheduler sched_yield select set_robust_list
set_tid_address sigaltstack stat statfs statx sysinfo time times umask uname unlink unlinkat write
writev
"""
_TCGETS, _TIOCGWINSZ, _FIONREAD, _FIONCLEX, _FIOCLEX = 0x5401, 0x5413, 0x541B, 0x5450, 0x5451
_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC = 0, 1, 2, 3, 4, 1030
_PR_SET_PDEATHSIG, _PR_GET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_NAME = 1, 3, 8, 15
_PR_GET_NAME, _PR_SET_NO_NEW_PRIVS, _PR_SET_VMA, _SIGKILL = 16, 38, 0x53564D41, 9
_TOOL_RULES: Final = {
    # A thread of this process, not another process.
    "clone": Rule(0, any_of=CLONE_THREAD),
    "ioctl": Rule(1, values=(_TCGETS, _TIOCGWINSZ, _FIONREAD)),
    "prctl": Rule(
        0,
        values=(
            *(_PR_GET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_NAME, _PR_GET_NAME),
            *(_PR_SET_NO_NEW_PRIVS, _PR_SET_VMA),
        ),
        # A tool cannot choose another signal than the one that ends it with its parent.
        pairs=((_PR_SET_PDEATHSIG, _SIGKILL),),
    ),
    # Its own limits, not those of another process.
    "prlimit64": Rule(0, values=(0,)),
    # F_SETOWN and F_SETSIG would let the kernel signal another process when a pipe is ready.
    "fcntl": Rule(1, values=(_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC)),
}
# No call of a tool sends a signal, also not tgkill: a filter cannot tell the threads of the tool
# from those of another process. So abort() cannot raise SIGABRT. It then executes an instruction
# that is not allowed, and the kernel ends the tool with SIGSEGV, or SIGTRAP on aarch64.

# What Python, the converter and setpriv need in addition: they start and end processes, and name
# and lock files.
_CONVERTER_CALLS: Final = """
epoll_create1 epoll_ctl epoll_wait fchdir fcntl fgetxattr flock fsetxattr getgroups getpgrp kill
link linkat memfd_create mkdir mkdirat prctl rename renameat renameat2 rmdir seccomp setitimer
tgkill vfork wait4 waitid
"""
_CONVERTER_RULES: Final = {
    "clone": Rule(0, none_of=CLONE_NEW_NAMESPACE),
    "ioctl": Rule(1, values=(_TCGETS, _TIOCGWINSZ, _FIONREAD, _FIONCLEX, _FIOCLEX)),
    "prlimit64": Rule(0, values=(0,)),
}

Rules = Mapping[str, Rule | None]
TOOL: Final[Rules] = dict.fromkeys(_TOOL_CALLS.split()) | _TOOL_RULES
CONVERTER: Final[Rules] = (
    dict.fromkeys((*_TOOL_CALLS.split(), *_CONVERTER_CALLS.split())) | _CONVERTER_RULES
)


def read_numbers(macros: str) -> dict[str, int]:
    """The numbers of all system calls, by name. Some macros name another macro."""
    defined = dict(re.findall(r"^#define (__NR\w*) (\w+)$", macros, re.MULTILINE))
    numbers = {}
    for macro in defined:
        value = macro
        while value in defined:
            value = defined[value]
        if macro.startswith("__NR_") and value.isdigit():
            numbers[macro.removeprefix("__NR_")] = int(value)
    return numbers


def compile_filter(rules: Rules, numbers: Mapping[str, int], machine: str) -> bytes:
    """The program for ``rules``. Newer machines lack some old system calls."""
    unknown = [name for name in rules if name not in numbers]
    if machine == "x86_64" and unknown:
        raise SystemExit(f"no such system calls: {' '.join(unknown)}")
    program = [
        _load(ARCHITECTURE_OFFSET),
        _jump(JUMP_IF_EQUAL, ARCHITECTURES[machine], then=1),
        _return(KILL_PROCESS),
        _load(NUMBER_OFFSET),
    ]
    for name, rule in rules.items():
        if name in numbers:
            body = [_return(ALLOW)] if rule is None else list(_rule_body(rule))
            program += [_jump(JUMP_IF_EQUAL, numbers[name], otherwise=len(body)), *body]
    return b"".join((*program, _return(ENOSYS)))


def _rule_body(rule: Rule) -> Iterable[bytes]:
    """Instructions that always return, because they replace the loaded number."""
    # The low half of a 64-bit argument comes first on the architectures above.
    yield _load(ARGUMENTS_OFFSET + 8 * rule.argument)
    for value, following in rule.pairs:
        yield _jump(JUMP_IF_EQUAL, value, otherwise=4)
        yield _load(ARGUMENTS_OFFSET + 8 * (rule.argument + 1))
        yield _jump(JUMP_IF_EQUAL, following, otherwise=1)
        yield _return(ALLOW)
        yield _return(ENOSYS)
    for value in rule.values:
        yield _jump(JUMP_IF_EQUAL, value, otherwise=1)
        yield _return(ALLOW)
    if rule.any_of:
        yield _jump(JUMP_IF_ANY_BIT, rule.any_of, otherwise=1)
        yield _return(ALLOW)
    if rule.none_of:
        yield _jump(JUMP_IF_ANY_BIT, rule.none_of, then=1)
        yield _return(ALLOW)
    yield _return(ENOSYS)


def _load(offset: int) -> bytes:
    return struct.pack("<HBBI", LOAD, 0, 0, offset)


def _jump(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("<HBBI", code, then, otherwise, value)


def _return(value: int) -> bytes:
    return struct.pack("<HBBI", RETURN, 0, 0, value)


def main(folder: pathlib.Path) -> None:
    """Write both filters into ``folder``."""
    numbers = read_numbers(sys.stdin.read())
    folder.mkdir(parents=True)
    for name, rules in (("converter", CONVERTER), ("tool", TOOL)):
        (folder / name).write_bytes(compile_filter(rules, numbers, platform.machine()))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
