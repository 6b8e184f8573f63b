"""Docker, as far as these tests need it: images, and containers with the test agent inside."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.converter.probing import Bitmap

AGENT = Path(__file__).with_name("agent.py")
TOOLS = "converter-test-tools:latest"
TOOLS_FOLDER = Path(__file__).with_name("tools")
MODULES = "/agent/modules"
"""Where the agent's modules are: the shipped image has only those that the converter uses."""
MODULES_PATH = f"{MODULES}:{MODULES}/lib-dynload"
RESTRICTED = (
    "--network=none",
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--user=65532",
    "--memory=1g",
    "--memory-swap=1g",
    "--cpus=1",
    "--tmpfs=/tmp",
)
"""The restrictions of a conversion, as in the cluster: no network, no root, 1 CPU and 1 GiB."""


class DockerError(Exception):
    """A docker command failed that must not fail."""


def docker(*arguments: str, limit: float = 120, text: str | None = None) -> str:
    """Standard output of one docker command."""
    done = subprocess.run(
        ["docker", *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    if done.returncode:
        raise DockerError(f"docker {' '.join(arguments[:3])}: {done.stderr.strip()[-800:]}")
    return done.stdout


def build_tools() -> str:
    """Build the image that makes inputs and probes outputs, if it has changed. Returns its id.

    Another working copy may move the name meanwhile, so only the id is certain.
    """
    command = ("build", "--network=host", "-q", "-t", TOOLS, str(TOOLS_FOLDER))
    return docker(*command, limit=900).strip()


def export_modules(tools: str, folder: Path) -> Path:
    """Copy Python's standard library from the tools' image into a new folder."""
    name = f"converter-test-{uuid.uuid4().hex[:12]}"
    docker("create", f"--name={name}", tools)
    try:
        (library,) = docker(
            "run", "--rm", "--network=none", "--entrypoint=python3", tools,
            "-c", "import os; print(os.path.dirname(os.__file__))",
        ).split()  # fmt: skip
        docker("cp", f"{name}:{library}", str(folder))
    finally:
        docker("rm", name)
    return folder


@dataclass(frozen=True, slots=True)
class Image:
    """Facts about an image, and the modules that its agent needs."""

    name: str
    entrypoint: tuple[str, ...]
    user: str
    size: int
    config: Mapping[str, Any]
    modules: Path

    def agent(self, *flags: str) -> Agent:
        """A container of this image with the agent inside."""
        modules = (f"--volume={self.modules}:{MODULES}:ro", f"--env=PYTHONPATH={MODULES_PATH}")
        return Agent(self.name, (*modules, *flags))


def inspect_image(name: str, modules: Path) -> Image:
    """Facts about a local image. Raises DockerError if docker or the image is missing."""
    body = json.loads(docker("image", "inspect", name))[0]
    config = body["Config"]
    return Image(
        name=name,
        entrypoint=(*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())),
        user=config.get("User", ""),
        size=body["Size"],
        config=config,
        modules=modules,
    )


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command inside a container ended, and what it used.

    Memory is KiB of resident pages: ``largest_kib`` of the largest process, ``peak_kib`` of all
    together, if sampled. ``wall`` and ``cpu`` are seconds.
    """

    code: int
    stdout: bytes
    stderr: bytes
    wall: float
    cpu: float
    timed_out: bool
    largest_kib: int
    peak_kib: int | None
    peak_tasks: int | None


class Command:
    """A running command inside a container."""

    def __init__(self, agent: Agent, number: int) -> None:
        self._agent = agent
        self._number = number
        self.started: Future[dict[str, Any]] = Future()
        self.ended: Future[dict[str, Any]] = Future()

    def signal(self, number: int, *, children: bool = False) -> None:
        """Send a signal to the command, or to all its descendants."""
        self._agent.ask(op="signal", target=self._number, signal=number, children=children)

    @property
    def done(self) -> bool:
        return self.ended.done()

    def result(self, limit: float = 300) -> Ended:
        body = self.ended.result(timeout=limit)
        return Ended(
            code=body["code"],
            stdout=base64.b64decode(body["stdout"]),
            stderr=base64.b64decode(body["stderr"]),
            wall=body["wall"],
            cpu=body["cpu"],
            timed_out=body["timed_out"],
            largest_kib=body["largest_kib"],
            peak_kib=body["peak_kib"],
            peak_tasks=body["peak_tasks"],
        )


class Agent:
    """A long-lived container whose only process starts commands for the tests."""

    def __init__(self, image: str, flags: Sequence[str]) -> None:
        self.name = f"converter-test-{uuid.uuid4().hex[:12]}"
        self._commands: dict[int, Command] = {}
        self._lock = threading.Lock()
        self._count = 0
        self._process = subprocess.Popen(
            [
                "docker",
                "run",
                "--rm",
                "-i",
                f"--name={self.name}",
                *flags,
                "--entrypoint=python3",
                image,
                "-u",
                "-c",
                AGENT.read_text(),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.processes()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        subprocess.run(
            ["docker", "rm", "-f", self.name], capture_output=True, timeout=60, check=False
        )
        self._process.wait(timeout=60)
        self._reader.join(timeout=60)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            body = json.loads(line)
            command = self._commands[body["id"]]
            if body["event"] == "started":
                command.started.set_result(body)
            elif "error" in body:
                if not command.started.done():
                    command.started.set_exception(DockerError(body["error"]))
                command.ended.set_exception(DockerError(body["error"]))
            else:
                command.ended.set_result(body)
        for command in self._commands.values():
            if not command.ended.done():
                command.ended.set_exception(DockerError("the container went away"))

    def _send(self, **body: Any) -> Command:
        assert self._process.stdin
        with self._lock:
            self._count += 1
            command = Command(self, self._count)
            self._commands[self._count] = command
            self._process.stdin.write(json.dumps({"id": self._count, **body}) + "\n")
            self._process.stdin.flush()
        return command

    def ask(self, **body: Any) -> dict[str, Any]:
        return self._send(**body).ended.result(timeout=60)

    def pixels(self, path: str, page: int) -> Bitmap:
        """One page of an image, as the tools' libvips decodes it."""
        body = self.ask(op="pixels", path=path, page=page)
        return Bitmap(body["width"], body["height"], base64.b64decode(body["pixels"]))

    def processes(self) -> dict[int, str]:
        """Command lines of the processes in the container other than the agent, by process id."""
        return {int(pid): text for pid, text in self.ask(op="processes")["processes"].items()}

    def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        cwd: str = "/",
        limit: float = 120,
        sample: bool = False,
    ) -> Command:
        """Start a command. It is killed after ``limit`` seconds."""
        command = self._send(
            op="run", argv=list(argv), env=dict(env or {}), cwd=cwd, limit=limit, sample=sample
        )
        command.started.result(timeout=60)
        return command

    def run(self, argv: Sequence[str], *, cwd: str = "/", limit: float = 120) -> bytes:
        """Standard output of a command that must succeed."""
        ended = self.start(argv, cwd=cwd, limit=limit).result()
        if ended.code:
            text = ended.stderr.decode(errors="replace")[-1500:]
            raise DockerError(f"{' '.join(argv)[:2000]} exited {ended.code}: {text}")
        return ended.stdout

    def python(self, script: str, *arguments: str) -> str:
        """Standard output of a script that runs inside the container."""
        argv = ["python3", "-c", script, *arguments]
        ended = self.start(argv, {"PYTHONPATH": MODULES_PATH}).result()
        if ended.code:
            raise DockerError(ended.stderr.decode(errors="replace")[-1500:])
        return ended.stdout.decode()

    def read(self, path: str) -> str:
        """The text of a file inside the container."""
        return self.python("import sys; print(open(sys.argv[1]).read(), end='')", path)
