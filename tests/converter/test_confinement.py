"""What a tool and the converter cannot do: other files, programs, processes, sockets.

Each attack runs twice. Without confinement it succeeds, so the test of it can fail.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
from collections.abc import Iterator

import pytest

from media_converter.contract import ExitReason
from media_converter.report_json import parse_report
from media_converter.running.endings import CRASHES
from tests.converter.containers import MODULES_PATH, RESTRICTED, Agent, Image
from tests.converter.harness import UID, VIDEO, Case, Converter, Workspace, listing, until
from tests.converter.kitchen import Kitchen
from tests.converter.recipes import looped_video

# Runs a script as the converter runs a tool, and prints what the script prints. The interpreter
# and its modules take the place of the tool and its libraries.
AS_TOOL = """
import os, sys, time
sys.path.insert(0, "/opt/converter")
from media_converter.running.confinement import LIBRARIES, Confinement, landlock_abi
from media_converter.running.process import Files, Runner, Signals, TimeLimits
from media_converter.running.process import reserve_descriptors
from media_converter.step import Step

folder, modules, abi, script = sys.argv[1:]
reserve_descriptors()
source = os.open(folder + "/input", os.O_RDONLY | os.O_CLOEXEC)
output = os.open(folder + "/output", os.O_RDWR | os.O_CLOEXEC)
libraries = (*LIBRARIES, "/usr/lib/python3.13", "/agent")
confinement = Confinement(landlock_abi() if abi == "" else int(abi), libraries)
limits = TimeLimits(time.monotonic() + 60, 60, 60)
runner = Runner(Signals(), limits, confinement, {"PYTHONPATH": modules}, lambda: None)
step = Step("attack", ("/usr/bin/python3", "-S", "-c", script, folder))
result = runner.run(step, files=Files(source, output))
sys.stderr.write(result.stderr)
sys.stdout.buffer.write(result.stdout)
"""
# Runs a script with the same descriptors, and nothing else.
FREELY = """
import os, sys
folder, script = sys.argv[1:]
for fd, name in ((3, "input"), (4, "output")):
    os.dup2(os.open(folder + "/" + name, os.O_RDWR), fd)
    os.set_inheritable(fd, True)
os.execv("/usr/bin/python3", ("/usr/bin/python3", "-S", "-c", script, folder))
"""
ON_FILES = """
import ctypes, errno, fcntl, json, os, signal, socket, sys

folder = sys.argv[1]
library = ctypes.CDLL(None, use_errno=True)

def call(name, *arguments):
    if getattr(library, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)

def opened(path, flags=os.O_RDONLY):
    os.close(os.open(path, flags))

def attempt(action):
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

parent = os.getppid()
ATTACKS = {
    "read another file": lambda: opened(folder + "/secret"),
    "list a folder": lambda: os.listdir(folder),
    "write another file": lambda: opened(folder + "/secret", os.O_WRONLY),
    "write the input": lambda: opened("/proc/self/fd/3", os.O_WRONLY),
    "create a file": lambda: opened(folder + "/new", os.O_WRONLY | os.O_CREAT),
    "empty another file": lambda: opened(folder + "/secret", os.O_WRONLY | os.O_TRUNC),
    "remove a file": lambda: os.unlink(folder + "/victim"),
    "read the parent's memory": lambda: opened(f"/proc/{parent}/mem"),
    "read the parent's environment": lambda: opened(f"/proc/{parent}/environ"),
    "read a file of the system": lambda: opened("/proc/self/mountinfo"),
    "read another program": lambda: opened("/usr/bin/setpriv"),
}
"""
BY_CALLS = """
def start():
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)

ATTACKS |= {
    "rename a file": lambda: os.rename(folder + "/old", folder + "/moved"),
    "link a file": lambda: os.link(folder + "/secret", folder + "/link"),
    "link a file by name": lambda: os.symlink(folder + "/secret", folder + "/symlink"),
    "make a folder": lambda: os.mkdir(folder + "/folder"),
    "change a mode": lambda: os.chmod(folder + "/secret", 0o600),
    "change a time": lambda: os.utime(folder + "/secret"),
    "change an attribute": lambda: os.setxattr(folder + "/secret", "user.a", b"b"),
    "empty a file by name": lambda: os.truncate(folder + "/secret", 0),
    "signal the parent": lambda: os.kill(parent, signal.SIGCONT),
    "signal the parent's thread": lambda: call("tgkill", parent, parent, int(signal.SIGCONT)),
    "signal the parent through a pipe": lambda: fcntl.fcntl(1, fcntl.F_SETOWN, parent),
    "choose the signal of a pipe": lambda: fcntl.fcntl(1, 10, int(signal.SIGCONT)),
    "read the parent's limits": lambda: call("prlimit", parent, 7, None, None),
    "outlive the parent": lambda: call("prctl", 1, 0, 0, 0, 0),
    "start a process": start,
    "open an internet socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close(),
    "open a datagram socket": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close(),
    "open a local socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close(),
    "open a pair of sockets": lambda: [end.close() for end in socket.socketpair()],
    # The last one, because a traced program stops at signals.
    "be traced": lambda: call("ptrace", 0, 0, None, None),
}
"""
TRY = "print(json.dumps({name: attempt(action) for name, action in ATTACKS.items()}))"
EXECUTE = """
import os
try:
    os.execv("/usr/bin/vips", ("vips", "--vips-version"))
except OSError as error:
    print(error.strerror)
"""


@pytest.fixture
def folder(workspace: Workspace) -> str:
    """A folder with files that a tool could attack."""
    name = workspace.scratch("confined")
    for file in ("input", "output", "secret", "victim", "old"):
        path = workspace.path(f"{name}/{file}")
        path.write_bytes(b"content")
        os.chown(path, UID, UID)
    return name


def freely(agent: Agent, folder: str, script: str) -> str:
    return agent.python(FREELY, f"/workspace/{folder}", script)


def as_tool(agent: Agent, folder: str, script: str, abi: str = "") -> str:
    return agent.python(AS_TOOL, f"/workspace/{folder}", MODULES_PATH, abi, script)


def succeeded(printed: str) -> set[str]:
    return {name for name, result in json.loads(printed).items() if result == "done"}


@pytest.mark.parametrize("attacks", [ON_FILES, ON_FILES + BY_CALLS], ids=["files", "calls"])
def test_a_tool_reaches_only_its_own_files(
    workspace: Workspace, converter: Converter, folder: str, attacks: str
) -> None:
    before = listing(workspace.path(folder))
    assert succeeded(as_tool(converter.agent, folder, attacks + TRY)) == set()
    assert listing(workspace.path(folder)) == before
    found = json.loads(freely(converter.agent, folder, attacks + TRY))
    # An attack that fails anyway proves nothing.
    assert {name: result for name, result in found.items() if result != "done"} == {}


def test_a_tool_executes_only_itself(converter: Converter, folder: str) -> None:
    assert "denied" in as_tool(converter.agent, folder, EXECUTE)
    assert "vips" in freely(converter.agent, folder, EXECUTE)


def test_a_tool_reads_its_input_and_writes_its_output_and_its_scratch_folder(
    workspace: Workspace, converter: Converter, folder: str
) -> None:
    script = """
import os
content = open("/proc/self/fd/3", "rb").read()
with open("/proc/self/fd/4", "wb") as output:
    output.write(content + b" of the input")
temporary = os.environ["TMPDIR"] + "/scratch"
open(temporary, "wb").write(b"x")
assert open(temporary, "rb").read() == b"x"
os.unlink(temporary)
open(temporary + "-left", "wb").write(b"x")
print(os.environ["TMPDIR"])
"""
    scratch = as_tool(converter.agent, folder, script).strip()
    assert workspace.path(f"{folder}/output").read_bytes() == b"content of the input"
    assert scratch.startswith("/tmp/converter-")  # noqa: S108
    left = converter.agent.python("import os; print(os.listdir('/tmp'))")
    assert scratch.rpartition("/")[2] not in left


def test_without_landlock_the_rest_holds(converter: Converter, folder: str) -> None:
    found = succeeded(as_tool(converter.agent, folder, ON_FILES + BY_CALLS + TRY, abi="0"))
    assert "read another file" in found
    free = json.loads(freely(converter.agent, folder, ON_FILES + TRY))
    assert found <= set(free), "only Landlock protects the content of files"


@pytest.mark.parametrize("abi", ["1", "2"])
def test_an_older_landlock_is_enough_for_files(converter: Converter, folder: str, abi: str) -> None:
    assert not succeeded(as_tool(converter.agent, folder, ON_FILES + BY_CALLS + TRY, abi=abi))


def test_a_tool_inherits_no_other_descriptor(converter: Converter, folder: str) -> None:
    script = """
import fcntl
found = []
for fd in range(64):
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
        found.append(fd)
    except OSError:
        pass
print(found)
"""
    assert as_tool(converter.agent, folder, script).strip() == "[0, 1, 2, 3, 4]"


@pytest.fixture(scope="module")
def connected(image: Image, workspace: Workspace) -> Iterator[Agent]:
    """A container with a network, where the attacks on sockets would succeed."""
    flags = [flag for flag in RESTRICTED if not flag.startswith("--network")]
    with image.agent(*flags, f"--volume={workspace.root}:/workspace") as agent:
        yield agent


SOCKETS = """
import json, os, pwd, socket, sys
found = {}
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            socket.socket(family, kind).close()
            found[f"{family} {kind}"] = "opened"
        except OSError as error:
            found[f"{family} {kind}"] = error.strerror
try:
    pwd.getpwuid(12345)
except KeyError:
    found["names"] = "not found"
print(json.dumps(found))
"""


def test_the_converter_has_no_network_from_its_first_instruction(
    image: Image, connected: Agent
) -> None:
    """The entrypoint's first program is setpriv, and it loads the filter before the interpreter."""
    at = image.entrypoint.index("/usr/bin/python3")
    assert image.entrypoint[0] == "/usr/bin/setpriv"
    environment = {"PYTHONPATH": MODULES_PATH}

    def sockets(*prefix: str) -> dict[str, str]:
        command = (*prefix, "/usr/bin/python3", "-S", "-c", SOCKETS)
        ended = connected.start(command, environment).result()
        assert ended.code == 0, ended.stderr
        found: dict[str, str] = json.loads(ended.stdout)
        return found

    confined = sockets(*image.entrypoint[:at])
    # Looking up a user, which tries a local socket, still ends as it should.
    assert confined.pop("names") == "not found"
    assert set(confined.values()) == {"Function not implemented"}
    assert "opened" in sockets().values()


def test_the_report_names_the_version_of_landlock(kitchen: Kitchen, converter: Converter) -> None:
    run = converter.convert(VIDEO, kitchen.base(), "out.mp4")
    abi = int(converter.agent.python(
        "import ctypes; print(max(0, ctypes.CDLL(None).syscall(444, None, 0, 1)))"
    ))  # fmt: skip
    assert run.report.landlock_abi == abi
    assert f"ABI {abi}" in run.report.logs if abi else "no Landlock" in run.report.logs


# The numbers of x86-64.
DENIED = {
    **{"socket": 41, "connect": 42, "accept": 43, "sendto": 44, "bind": 49, "listen": 50},
    **{"socketpair": 53, "accept4": 288, "ptrace": 101, "process_vm_readv": 310},
    **{"process_vm_writev": 311, "kcmp": 312, "pidfd_getfd": 438, "pidfd_send_signal": 424},
    **{"unshare": 272, "setns": 308, "clone3": 435, "mount": 165, "umount2": 166},
    **{"pivot_root": 155, "chroot": 161, "open_tree": 428, "move_mount": 429, "fsopen": 430},
    **{"mount_setattr": 442, "io_uring_setup": 425, "io_uring_enter": 426},
    **{"io_uring_register": 427, "add_key": 248, "request_key": 249, "keyctl": 250, "bpf": 321},
    **{"userfaultfd": 323, "perf_event_open": 298, "open_by_handle_at": 304, "personality": 135},
    **{"init_module": 175, "finit_module": 313, "kexec_load": 246, "setuid": 105, "setgid": 106},
    **{"setresuid": 117, "mknod": 133, "mknodat": 259, "chmod": 90, "fchmod": 91, "chown": 92},
    **{"truncate": 76, "setrlimit": 160, "shmget": 29, "msgget": 68, "execveat": 322},
    **{"memfd_secret": 447, "modify_ldt": 154, "iopl": 172, "syslog": 103, "acct": 163},
}
DENIED_TO_TOOLS = {
    **{"fork": 57, "vfork": 58, "kill": 62, "tkill": 200, "tgkill": 234, "rename": 82, "link": 86},
    **{"symlink": 88, "mkdir": 83, "rmdir": 84, "flock": 73, "memfd_create": 319, "wait4": 61},
    **{"setxattr": 188, "fsetxattr": 190, "utimensat": 280, "setpriority": 141, "seccomp": 317},
}
ALLOWED = {"getpid": 39, "lseek": 8, "fstat": 5, "sched_yield": 24, "getrandom": 318}
CALLS = """
import ctypes, errno, json, sys
library = ctypes.CDLL(None, use_errno=True)
library.syscall.restype = ctypes.c_long
found = {}
for name, number in json.loads(sys.argv[1]).items():
    ctypes.set_errno(0)
    library.syscall(number, *[ctypes.c_long(-1)] * 6)
    found[name] = ctypes.get_errno() == errno.ENOSYS
print(json.dumps(found))
"""


@pytest.mark.parametrize("name", ["converter", "tool"])
def test_system_calls(restricted: Agent, name: str) -> None:
    denied = {**DENIED, **({} if name == "converter" else DENIED_TO_TOOLS)}
    command = (
        *("/usr/bin/setpriv", "--no-new-privs", "--seccomp-filter"),
        *(f"/opt/converter/filters/{name}", "/usr/bin/python3", "-S", "-c", CALLS),
        json.dumps(denied | ALLOWED),
    )
    ended = restricted.start(command, {"PYTHONPATH": MODULES_PATH}).result()
    assert ended.code == 0, ended.stderr
    assert json.loads(ended.stdout) == dict.fromkeys(denied, True) | dict.fromkeys(ALLOWED, False)


def test_a_tool_that_aborts_has_crashed(restricted: Agent) -> None:
    """abort() cannot raise SIGABRT, and ends the tool with another signal."""
    command = (
        *("/usr/bin/setpriv", "--no-new-privs", "--seccomp-filter", "/opt/converter/filters/tool"),
        *("/usr/bin/python3", "-S", "-c", "import ctypes; ctypes.CDLL(None).abort()"),
    )
    ended = restricted.start(command, {"PYTHONPATH": MODULES_PATH}).result()
    assert -ended.code in CRASHES - {signal.SIGABRT}


@pytest.mark.parametrize(
    "number",
    [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS],
)
def test_a_tool_that_crashes_is_named_and_the_input_is_recorded(
    kitchen: Kitchen, converter: Converter, number: signal.Signals
) -> None:
    folder = converter.workspace.scratch("crash")
    case = Case(VIDEO, looped_video(kitchen), f"{folder}/out.mp4", {"quality": "high"})
    conversion = converter.start(case)
    place = converter.workspace.path(folder)
    until(lambda: any(size > 1000 for _, size, _ in listing(place).values()))
    conversion.command.signal(number, children=True)
    run = conversion.end()
    assert run.reason is ExitReason.DECODER_CRASHED, run.report.message
    assert number.name in run.report.message
    digest = subprocess.run(
        ["sha256sum", kitchen.path(case.source)], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    assert digest in run.report.logs
    assert not listing(place)


START = """
import os, sys, time
sys.path.insert(0, "/opt/converter")
from media_converter.running import confinement, process
from media_converter.running.confinement import Confinement, landlock_abi
from media_converter.running.process import Files, Runner, Signals, TimeLimits
from media_converter.step import Step

process.reserve_descriptors()
source = os.open("/opt/ffmpeg/bin/ffprobe", os.O_RDONLY | os.O_CLOEXEC)
limits = TimeLimits(time.monotonic() + 600, 600, 600)
signals = Signals()

class Free(Confinement):
    def command(self, argv, own_files):
        return (confinement.SETPRIV, "--pdeathsig", "KILL", "--", *argv)

runners = [
    Runner(signals, limits, kind(landlock_abi()), {}, lambda: None)
    for kind in (Free, Confinement)
]
step = Step("start", ("/opt/ffmpeg/bin/ffprobe", "-version"))
for _ in range(int(sys.argv[1])):
    for runner in runners:
        began = time.perf_counter()
        runner.run(step, files=Files(source))
        print(time.perf_counter() - began, end=" ")
"""


@pytest.mark.alone
def test_confinement_costs_at_most_five_milliseconds(restricted: Agent) -> None:
    times = [float(text) for text in restricted.python(START, "200").split()]
    free, confined = statistics.median(times[::2]), statistics.median(times[1::2])
    assert confined - free <= 0.005, (free, confined)


def test_a_sweep_runs_confined_too(image: Image, workspace: Workspace) -> None:
    done = subprocess.run(
        ["docker", "run", "--rm", *RESTRICTED, f"--volume={workspace.root}:/workspace",
         "--env=OUTPUT_FILE=out/x.mp4", image.name, "sweep"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    report = parse_report(done.stdout.splitlines()[-1])
    assert report
    assert report.reason is ExitReason.COMPLETED
