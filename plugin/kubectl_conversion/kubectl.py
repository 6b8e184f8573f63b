"""Runs kubectl. Nothing else of the plugin starts a process or talks to the API server.

Each command is an argv list. An answer that could not be read is an error, never an empty answer.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from kubectl_conversion import data
from kubectl_conversion.text import safe

Obj = dict[str, Any]

_TIMEOUT: Final = "--request-timeout=30s"
_PAGE: Final = 500
_FORWARDED: Final = re.compile(rb"from 127\.0\.0\.1:(\d+) ")
_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Failure(StrEnum):
    """Why a request has no answer."""

    NO_KUBECTL = "NoKubectl"
    NO_CONTEXT = "NoContext"
    UNREACHABLE = "Unreachable"
    UNAUTHORIZED = "Unauthorized"
    FORBIDDEN = "Forbidden"
    NO_RESOURCE = "NoResource"
    NOT_FOUND = "NotFound"
    EXISTS = "AlreadyExists"
    CONFLICT = "Conflict"
    EXPIRED = "Expired"
    REJECTED = "Rejected"
    OTHER = "Other"


class KubectlError(Exception):
    """A request that has failed. ``message`` is safe for a terminal."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure
        self.message = message

    @property
    def cure(self) -> str:
        """What to do about it. Empty if the message says all."""
        return _CURES.get(self.failure, "")


_CURES: Final = {
    Failure.NO_KUBECTL: "Install kubectl, or add its folder to PATH.",
    Failure.NO_CONTEXT: (
        "List the contexts with `kubectl config get-contexts`. Choose one with `kubectl config "
        "use-context NAME`, or add --context NAME."
    ),
    Failure.UNREACHABLE: (
        "Check the address with `kubectl cluster-info`, and your network or VPN. Add --context "
        "NAME to use another cluster."
    ),
    Failure.UNAUTHORIZED: (
        "Log in to the cluster again, as you did for kubectl. `kubectl auth whoami` says whether "
        "it helped."
    ),
    Failure.FORBIDDEN: (
        "Ask an administrator of the cluster for this right. `kubectl conversion doctor` says "
        "which rights you have."
    ),
    Failure.NO_RESOURCE: (
        "Install the CRDs of this release: "
        "`kubectl apply --server-side --force-conflicts -f crds/`."
    ),
}

# The order matters: the first phrase that kubectl's answer contains decides.
_PHRASES: Final = (
    ("the server could not find the requested resource", Failure.NO_RESOURCE),
    ("the server doesn't have a resource type", Failure.NO_RESOURCE),
    ("no matches for kind", Failure.NO_RESOURCE),
    ("current-context must exist", Failure.NO_CONTEXT),
    ("no configuration has been provided", Failure.NO_CONTEXT),
    ("localhost:8080", Failure.NO_CONTEXT),
    ("context was not found", Failure.NO_CONTEXT),
    ("cannot locate context", Failure.NO_CONTEXT),
    ("(NotFound)", Failure.NOT_FOUND),
    ("(AlreadyExists)", Failure.EXISTS),
    # Both are Forbidden, but no right is missing.
    ("exceeded quota", Failure.REJECTED),
    ("because it is being terminated", Failure.REJECTED),
    ("(Forbidden)", Failure.FORBIDDEN),
    ("(Unauthorized)", Failure.UNAUTHORIZED),
    ("must be logged in to the server", Failure.UNAUTHORIZED),
    ("getting credentials", Failure.UNAUTHORIZED),
    ("(Conflict)", Failure.CONFLICT),
    ("(Expired)", Failure.EXPIRED),
    ("(Invalid)", Failure.REJECTED),
    ("is invalid", Failure.REJECTED),
    ("(BadRequest)", Failure.REJECTED),
    ("denied the request", Failure.REJECTED),
    ("Unable to connect to the server", Failure.UNREACHABLE),
    ("was refused", Failure.UNREACHABLE),
    ("i/o timeout", Failure.UNREACHABLE),
    ("no such host", Failure.UNREACHABLE),
    ("net/http", Failure.UNREACHABLE),
    ("Client.Timeout", Failure.UNREACHABLE),
    ("EOF", Failure.UNREACHABLE),
    ("connection reset", Failure.UNREACHABLE),
)


def classify(output: str) -> KubectlError:
    """What kubectl's error output says. Lines with warnings are left out."""
    lines = [line for line in output.splitlines() if line and not line.startswith("Warning:")]
    text = " ".join(line.strip() for line in lines if not _is_log(line)) or " ".join(lines[-1:])
    failure = next((kind for phrase, kind in _PHRASES if phrase in output), Failure.OTHER)
    text = text.removeprefix("error: ").removeprefix("Error: ")
    return KubectlError(failure, safe(text[:2000]) or "kubectl failed, and does not say why")


def _is_log(line: str) -> bool:
    """Whether it is a line of kubectl's own log, such as ``E1128 13:00:00 memcache.go``."""
    return len(line) > 5 and line[0] in "EWI" and line[1:5].isdigit()


def path(plural: str, namespace: str = "", name: str = "", **query: str) -> str:
    """The path of our resources."""
    return api_path(f"apis/{data.api_version()}", plural, namespace, name, **query)


def api_path(
    api: str, plural: str, namespace: str = "", name: str = "", sub: str = "", **query: str
) -> str:
    """The path of a resource, quoted. Without a namespace, of all namespaces."""
    parts = [api, *(("namespaces", quote(namespace, safe="")) if namespace else ()), plural]
    parts += [quote(part, safe="") for part in (name, sub) if part]
    return "/" + "/".join(parts) + (f"?{urlencode(query)}" if query else "")


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl with the context and the kubeconfig of the caller."""

    context: str = ""
    kubeconfig: str = ""

    def get(self, url: str) -> Obj:
        """The object at a path."""
        answer = parse(self._run("get", "--raw", url))
        if answer.get("kind") == "Status" and answer.get("status") == "Failure":
            raise classify(f"({answer.get('reason')}) {answer.get('message')}")
        return answer

    def get_list(self, url: str) -> Obj:
        """The whole list at a path, read in pages of 500 objects."""
        separator = "&" if "?" in url else "?"
        pages, token = [], ""
        while True:
            query = urlencode({"limit": str(_PAGE), **({"continue": token} if token else {})})
            page = self.get(f"{url}{separator}{query}")
            if not isinstance(page.get("items"), list):
                raise KubectlError(Failure.OTHER, "the API server has sent something but a list")
            pages.append(page)
            token = page.get("metadata", {}).get("continue") or ""
            if not token:
                break
        return pages[0] | {"items": [item for page in pages for item in page["items"]]}

    def create(self, url: str, obj: Obj) -> Obj:
        """Create an object and return what is stored. Warnings go to stderr."""
        return parse(self._run("create", "--raw", url, "-f", "-", body=json.dumps(obj)))

    def create_all(self, objects: Sequence[Obj]) -> list[Obj]:
        """Create several objects with one kubectl, and return what is stored, in their order."""
        whole = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        output = self._run(
            *("create", "--validate=false", "--output", "json", "-f", "-"), body=json.dumps(whole)
        )
        return parse_all(output)

    def patch(self, plural: str, namespace: str, name: str, patch: Sequence[Obj]) -> Obj:
        """Send a JSON Patch and return what is stored."""
        return parse(
            self._run(
                *("patch", data.resource(plural), name, "--namespace", namespace),
                *("--type", "json", "--patch", json.dumps(patch), "--output", "json"),
            )
        )

    def config(self) -> Obj:
        """The part of the kubeconfig that is in use, without secrets."""
        return parse(self._run("config", "view", "--minify", "--output", "json"))

    def namespace(self) -> str:
        """The namespace of the context, as kubectl finds it."""
        try:
            return namespace_in(self.config())
        except KubectlError as error:
            if error.failure is Failure.NO_CONTEXT and (place := self.namespace_of_pod()):
                return place
            raise

    def namespace_of_pod(self) -> str:
        """The namespace of the pod, where kubectl needs no kubeconfig. Empty outside of a pod."""
        if self.context or "KUBERNETES_SERVICE_HOST" not in os.environ:
            return ""
        return _SERVICE_ACCOUNT.read_text("utf-8").strip() if _SERVICE_ACCOUNT.is_file() else ""

    @contextmanager
    def stream(self, url: str) -> Iterator[Iterator[bytes]]:
        """The lines of an answer that stays open. Raises KubectlError if kubectl fails."""
        with tempfile.TemporaryFile() as errors:
            process = self._start("get", "--raw", url, errors=errors.fileno())

            def lines() -> Iterator[bytes]:
                yield from process.stdout or ()
                if process.wait():
                    errors.seek(0)
                    raise classify(errors.read(8192).decode("utf-8", "replace"))

            try:
                yield lines()
            finally:
                process.kill()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()

    @contextmanager
    def forward(
        self, namespace: str, service: str, port: int, target: str
    ) -> Iterator[tuple[int, Callable[[], KubectlError]]]:
        """Forward a port of this machine (0: any) to the port ``target`` of a Service.

        Yields the port, and a function that waits for the end and returns why it came. Raises
        KubectlError if kubectl cannot forward the port.
        """
        with tempfile.TemporaryFile() as errors:
            process = self._start(
                *("port-forward", "--address", "127.0.0.1", "--namespace", namespace),
                *(f"service/{service}", f"{port or ''}:{target}"),
                errors=errors.fileno(),
            )

            def wait() -> KubectlError:
                for _ in process.stdout or ():
                    pass  # a line for each connection, which nobody needs
                process.wait()
                errors.seek(0)
                return classify(errors.read(8192).decode("utf-8", "replace"))

            try:
                first = process.stdout.readline() if process.stdout else b""
                found = _FORWARDED.search(first)
                if found is None:
                    raise wait()
                yield int(found[1]), wait
            finally:
                process.kill()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()

    def _start(self, *arguments: str, errors: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._argv(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(),
        )

    def _run(self, *arguments: str, body: str = "") -> str:
        try:
            done = subprocess.run(
                self._argv((*arguments, *self._timeout())),
                input=body.encode(),
                capture_output=True,
                env=_environment(),
                timeout=120,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise KubectlError(Failure.UNREACHABLE, "kubectl has not answered for 120 s") from None
        errors = done.stderr.decode("utf-8", "replace")
        if done.returncode:
            raise classify(errors)
        for line in errors.splitlines():
            if line.startswith("Warning:"):
                print(safe(line), file=sys.stderr)
        return done.stdout.decode("utf-8", "replace")

    def _timeout(self) -> list[str]:
        """The limit of a request. With it, kubectl does not use the account of its pod."""
        in_pod = "KUBERNETES_SERVICE_HOST" in os.environ
        return [] if in_pod and not self._has_kubeconfig() else [_TIMEOUT]

    def _has_kubeconfig(self) -> bool:
        if self.kubeconfig or self.context:
            return True
        home = Path(os.environ.get("HOME", "")) / ".kube" / "config"
        files = (os.environ.get("KUBECONFIG") or str(home)).split(os.pathsep)
        return any(Path(each).is_file() for each in files if each)

    def _argv(self, arguments: Sequence[str]) -> list[str]:
        program = shutil.which("kubectl")
        if program is None:
            raise KubectlError(Failure.NO_KUBECTL, "there is no kubectl in PATH")
        chosen = [f"--context={self.context}"] if self.context else []
        if self.kubeconfig:
            chosen.append(f"--kubeconfig={self.kubeconfig}")
        return [program, *arguments, *chosen]


def namespace_in(config: Obj | None) -> str:
    """The namespace of the context of a kubeconfig."""
    contexts = (config or {}).get("contexts") or [{}]
    return contexts[0].get("context", {}).get("namespace") or "default"


def parse(output: str) -> Obj:
    """kubectl's answer as an object. An answer that is none is an error, not nothing."""
    try:
        answer = json.loads(output)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise KubectlError(
            Failure.OTHER, f"kubectl has answered with no object: {safe(output[:200])}"
        )
    return answer


def parse_all(output: str) -> list[Obj]:
    """The objects in an answer: one after the other, or in one List."""
    decoder, at = json.JSONDecoder(), 0
    found: list[Obj] = []
    while at < len(output.rstrip()):
        try:
            obj, at = decoder.raw_decode(output, at)
        except ValueError:
            obj = None
        if not isinstance(obj, dict):
            raise KubectlError(
                Failure.OTHER, f"kubectl has answered with no object: {safe(output[:200])}"
            )
        found += obj["items"] if obj.get("kind") == "List" else [obj]
        while output[at : at + 1].isspace():
            at += 1
    return found


def _environment() -> dict[str, str]:
    """kubectl translates its messages. We read the English ones."""
    return os.environ | {"LC_ALL": "C", "LANGUAGE": "", "LANG": "C"}
