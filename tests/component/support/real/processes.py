"""Starts etcd, kube-apiserver and kube-controller-manager as processes, without a kubelet."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

TOKEN: Final = secrets.token_hex(16)
"""The token of a user who may do everything."""
AUTHORIZATION: Final = {"Authorization": f"Bearer {TOKEN}"}
_ROOT: Final = Path(__file__).parents[4]
_HOST: Final = "127.0.0.1"
_PR_SET_PDEATHSIG: Final = 1
_START_SECONDS: Final = 60.0
# Collect garbage less often: more memory, less CPU.
_ENVIRONMENT: Final = {"GOGC": "400"}
_CONTROLLERS: Final = ("job-controller", "garbage-collector-controller", "namespace-controller")


@cache
def insecure_tls() -> ssl.SSLContext:
    """A context that accepts the self-signed certificate of the API server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class ControlPlane:
    """The processes of one control plane."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="control-plane-", dir=_fast_folder()))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._etcd_ports = _free_port(), _free_port()
        self._port = _free_port()
        self.crd: dict[str, Any] = {}
        """The CRD of ConversionJobs that is served. See ``RealApi.use_crd``."""
        self.url = f"https://{_HOST}:{self._port}"

    def start_api_server(self) -> None:
        """Start etcd and the API server, and wait until it is ready. Raises RuntimeError."""
        client, peer = (f"http://{_HOST}:{port}" for port in self._etcd_ports)
        self._spawn(
            "etcd",
            *("--data-dir", str(self._folder / "etcd"), "--unsafe-no-fsync"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"default={peer}"),
        )
        key = self._folder / "service-accounts.key"
        command = ["openssl", "genrsa", "-out", str(key), "2048"]
        subprocess.run(command, check=True, capture_output=True)
        tokens = self._folder / "tokens.csv"
        tokens.write_text(f"{TOKEN},admin,admin,system:masters\n", encoding="utf-8")
        self._spawn(
            "kube-apiserver",
            *("--etcd-servers", client, "--cert-dir", str(self._folder / "certificates")),
            *("--bind-address", _HOST, "--secure-port", str(self._port)),
            *("--authorization-mode", "RBAC", "--token-auth-file", str(tokens)),
            *("--service-account-issuer", self.url, "--service-account-key-file", str(key)),
            *("--service-account-signing-key-file", str(key)),
            "--service-cluster-ip-range=10.0.0.0/24",
            # The controllers of service accounts and of claims in use do not run.
            "--disable-admission-plugins=ServiceAccount,StorageObjectInUseProtection",
        )
        self._wait_ready()

    def start_controllers(self) -> None:
        """Start the controllers. The CRD must exist: the garbage collector looks for it once."""
        kubeconfig = self._folder / "kubeconfig"
        cluster = {"server": self.url, "insecure-skip-tls-verify": True}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "judge", "cluster": cluster}],
            "users": [{"name": "judge", "user": {"token": TOKEN}}],
            "contexts": [{"name": "judge", "context": {"cluster": "judge", "user": "judge"}}],
            "current-context": "judge",
        }
        kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")
        self._spawn(
            "kube-controller-manager",
            *("--kubeconfig", str(kubeconfig), "--leader-elect=false", "--bind-address", _HOST),
            *("--secure-port", "0", "--controllers", ",".join(_CONTROLLERS)),
            *("--kube-api-qps", "1000", "--kube-api-burst", "2000"),
        )

    def pid(self, name: str) -> int:
        """The id of the process of this command."""
        return self._processes[name].pid

    def stop(self) -> None:
        """Kill all processes and remove their files. Nothing of them is needed later.

        If it were asked to end, the API server would first wait for the watches of others.
        """
        for process in reversed(self._processes.values()):
            process.kill()
        for process in self._processes.values():
            process.wait()
        subprocess.run(["rm", "-rf", str(self._folder)], check=True)

    def _spawn(self, name: str, *arguments: str) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(_binaries() / name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | _ENVIRONMENT,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - no other thread holds a lock
            )
        self._processes[name] = process

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if any(process.poll() is not None for process in self._processes.values()):
                break
            with contextlib.suppress(OSError):
                connection = http.client.HTTPSConnection(
                    _HOST, self._port, context=insecure_tls(), timeout=5
                )
                with contextlib.closing(connection):
                    connection.request("GET", "/readyz", headers=AUTHORIZATION)
                    if connection.getresponse().status == 200:
                        return
            time.sleep(0.1)  # the process reports its readiness in no other way
        log = (self._folder / "kube-apiserver.log").read_text(errors="replace")
        self.stop()
        raise RuntimeError(f"the API server does not become ready:\n{log[-3000:]}")


@cache
def _binaries() -> Path:
    """The folder with the commands. ``hack/control-plane`` builds or pulls them if necessary."""
    script = _ROOT / "hack" / "control-plane"
    made = subprocess.run([str(script)], check=True, stdout=subprocess.PIPE, text=True)
    return Path(made.stdout.strip())


def _end_with_parent() -> None:
    """The process ends with pytest, also if pytest is killed. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _fast_folder() -> str | None:
    """A folder in memory, if there is one: etcd writes each change to its disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
