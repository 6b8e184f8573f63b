"""Runs commands: kubectl on the tests' cluster, docker, and the scripts of hack/."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[3]
TOOLS: Final = ROOT / ".tools"


class CommandFailed(Exception):
    """A command failed. ``str()`` includes its output."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a command."""

    code: int
    out: str
    err: str


def run(*command: str, text: str | None = None, limit: float = 60) -> Result:
    """Run a command to its end, within ``limit`` seconds."""
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=limit, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)


def must(*command: str, text: str | None = None, limit: float = 60) -> str:
    """Run a command and return its standard output. Raises CommandFailed if it fails."""
    done = run(*command, text=text, limit=limit)
    if done.code:
        raise CommandFailed(f"{' '.join(command)}: {(done.err or done.out).strip()[-1500:]}")
    return done.out


def hack(script: str, *arguments: str, limit: float) -> None:
    """Run a script of hack/. Its output goes to the output of the tests."""
    subprocess.run([str(ROOT / "hack" / script), *arguments], check=True, timeout=limit)


class Kubectl:
    """kubectl on one cluster, as its administrator."""

    def __init__(self, program: Path, kubeconfig: Path) -> None:
        self.program, self.kubeconfig = program, kubeconfig

    def command(self, *arguments: str) -> list[str]:
        """The whole command line."""
        return [str(self.program), f"--kubeconfig={self.kubeconfig}", *arguments]

    def environment(self) -> dict[str, str]:
        """An environment in which ``kubectl`` is this kubectl on this cluster."""
        path = f"{self.program.parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": path}

    def attempt(self, *arguments: str, text: str | None = None, limit: float = 60) -> Result:
        """Run kubectl, and return the result even if it fails."""
        return run(*self.command(*arguments), text=text, limit=limit)

    def __call__(self, *arguments: str, text: str | None = None, limit: float = 60) -> str:
        """Run kubectl and return its standard output. Raises CommandFailed if it fails."""
        return must(*self.command(*arguments), text=text, limit=limit)

    def get(self, *arguments: str) -> Any:
        """``kubectl get … -o json``."""
        return json.loads(self("get", *arguments, "-o", "json"))

    def raw(self, path: str) -> str:
        """GET a path of the API server."""
        return self("get", "--raw", path)

    def create(self, body: Mapping[str, Any]) -> Any:
        """Create one object, and return it as stored."""
        return json.loads(self("create", "-f", "-", "-o", "json", text=json.dumps(body)))

    def wait(self, condition: str, *arguments: str, seconds: float) -> None:
        """``kubectl wait``."""
        self("wait", f"--for={condition}", *arguments, f"--timeout={seconds}s", limit=seconds + 30)


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Repeat a check, which takes a moment itself, until it is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
