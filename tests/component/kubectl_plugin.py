"""Runs the built plugin as kubectl does, against the API server of a test."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.component.support import NAMESPACE, FakeApi
from tests.component.support.real.api import RealApi
from tests.component.support.real.processes import TOKEN

ROOT = Path(__file__).parents[2]


class Done(NamedTuple):
    """A command that has ended. In a terminal, ``out`` has both streams."""

    code: int
    out: str
    err: str = ""


def build(folder: Path) -> Path:
    """The folder with the built plugin."""
    subprocess.run([ROOT / "hack" / "plugin", "1.2.3", "https://example.com", folder], check=True)
    return folder


def kubeconfig(
    path: Path, server: str, token: str = "", namespace: str = NAMESPACE, context: str = "test"
) -> Path:
    """Write a kubeconfig. ``context`` is the current one, empty for none."""
    cluster = {"server": server} | ({"insecure-skip-tls-verify": True} if token else {})
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": token} if token else {}}],
        "contexts": [
            {"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}
        ],
        "current-context": context,
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def server_of(api: FakeApi) -> tuple[str, str]:
    """Address and token of an API server, for somebody who may do everything."""
    if isinstance(api, RealApi):
        return api._plane.url, TOKEN
    return api.url, ""


@dataclass
class Plugin:
    """The plugin, with the kubeconfig of one caller."""

    folder: Path
    config: Path
    env: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        path = f"{self.folder}:{ROOT / '.tools' / 'bin'}:{os.environ['PATH']}"
        home = str(self.config.parent)
        kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
        return kept | {"PATH": path, "KUBECONFIG": str(self.config), "HOME": home, **self.env}

    async def run(self, *arguments: str) -> Done:
        """Run a command without a terminal."""

        def run() -> Done:
            done = subprocess.run(
                ["kubectl", "conversion", *arguments],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=60,
                check=False,
            )
            return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

        return await asyncio.to_thread(run)

    async def in_terminal(
        self, *arguments: str, columns: int = 80, typed: str = "", interrupt_after: str = ""
    ) -> Done:
        """Run a command in a pseudo-terminal. Ctrl-C is pressed when ``interrupt_after`` shows."""
        return await asyncio.to_thread(
            self._in_terminal, list(arguments), columns, typed, interrupt_after
        )

    def _in_terminal(
        self, arguments: list[str], columns: int, typed: str, interrupt_after: str
    ) -> Done:
        child, terminal = pty.fork()
        if child == 0:
            # A shell starts programs in the background with SIGINT ignored, which is inherited.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            environment = self.environment() | {"TERM": "xterm-256color"}
            os.execvpe("kubectl", ["kubectl", "conversion", *arguments], environment)  # noqa: S606
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        screen, deadline = b"", time.monotonic() + 60
        if typed:
            os.write(terminal, typed.encode())
        while time.monotonic() < deadline:
            ready, _, _ = select.select([terminal], [], [], 1)
            if not ready:
                continue
            try:
                data = os.read(terminal, 65536)
            except OSError:  # the terminal is closed when the last process has ended
                data = b""
            if not data:
                break
            screen += data
            if interrupt_after and interrupt_after.encode() in screen:
                os.write(terminal, b"\x03")
                interrupt_after = ""
        else:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(terminal)
        return Done(os.waitstatus_to_exitcode(status), screen.decode("utf-8", "replace"))


def with_stand_in(folder: Path, config: Path, program: str) -> Plugin:
    """The plugin with ``program`` as its kubectl. The real one is in its variable REAL_KUBECTL."""
    built = build(folder / "plugin")
    stand_in = built / "kubectl"
    stand_in.write_text(program, encoding="utf-8")
    stand_in.chmod(0o755)
    real = shutil.which("kubectl", path=f"{ROOT / '.tools/bin'}:{os.environ['PATH']}")
    assert real
    return Plugin(built, config, {"REAL_KUBECTL": real})
