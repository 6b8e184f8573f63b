"""ui."""

from __future__ import annotations

import html
import tempfile
import time
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlencode

import typer

from kubectl_conversion import data, http_api, options, source
from kubectl_conversion.kubectl import Failure, KubectlError
from kubectl_conversion.relay import Relay
from kubectl_conversion.source import Caller
from kubectl_conversion.terminal import note
from kubectl_conversion.text import safe

_PAUSE_SECONDS: Final = 1.0
_SHORT_SECONDS: Final = 5.0
_TRIES: Final = 30
"""How often the port is forwarded again in a row while each time ends at once."""


def ui(
    account: Annotated[
        str,
        typer.Option(
            "--account",
            help="Service account of the namespace. Its rights are those of the page.",
            metavar="NAME",
        ),
    ] = http_api.ACCOUNT,
    minutes: Annotated[
        int, typer.Option("--minutes", help="How long the token is valid.", min=10, max=1440)
    ] = 60,
    port: Annotated[
        int, typer.Option("--port", help="Port on this machine. Default: any.", min=0, max=65535)
    ] = 0,
    no_browser: Annotated[
        bool,
        typer.Option("--no-browser", help="Print the address and token. Open no browser."),
    ] = False,
    namespace: options.Namespace = "",
    operator_namespace: options.OperatorNamespace = "",
    context: options.Context = "",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Open the live page. Forwards a port to the HTTP API until Ctrl-C.

    The HTTP API takes tokens of service accounts only, so the page has the rights of one.

    \b
    Examples:
      kubectl conversion ui -n my-network
      kubectl conversion ui -n my-network --account web --no-browser --port 8000
    """
    caller = options.caller(context, kubeconfig, namespace)
    home = operator_namespace or source.operator_namespace(caller)
    fragment: dict[str, str] = {}
    if token := http_api.token(caller, home, account, http_api.settings(caller, home), minutes):
        fragment["token"] = token
    else:
        note("The HTTP API takes no tokens: whoever reaches the address has its rights.")
    fragment["namespace"] = caller.namespace
    try:
        _serve(caller, home, port, urlencode(fragment), browser=not no_browser)
    except KeyboardInterrupt:
        return


def _serve(caller: Caller, home: str, port: int, fragment: str, *, browser: bool) -> None:
    """Forward the port until Ctrl-C, again and again: a pod of the HTTP API may be replaced.

    The port stays with this process all the time: the page sends its token to whoever has it.
    """
    failures, opened = 0, False
    with _relay(port) as relay, ExitStack() as files:
        while True:
            begun = time.monotonic()
            try:
                with caller.kubectl.forward(home, data.GATEWAY, 0, "http") as (found, wait):
                    relay.use(found)
                    if not opened:
                        opened = True
                        address = f"http://127.0.0.1:{relay.port}/ui/#{fragment}"
                        _tell(files, address, browser=browser)
                    error = wait()
                    relay.use(0)
            except KubectlError as failure:
                if not opened:
                    raise
                error = failure
            failures = failures + 1 if time.monotonic() - begun < _SHORT_SECONDS else 0
            if failures >= _TRIES:
                raise error
            why = safe(error.message)
            note(f"The connection has ended: {why}. Forwarding port {relay.port} again.")
            time.sleep(_PAUSE_SECONDS)


def _relay(port: int) -> Relay:
    """Raises KubectlError if the port is taken."""
    try:
        return Relay(port)
    except OSError as error:
        raise KubectlError(
            Failure.OTHER, f"port {port} of this machine cannot be used: {error.strerror}"
        ) from None


def _tell(files: ExitStack, address: str, *, browser: bool) -> None:
    """Open the browser on a file of the caller that leads to the address, or print the address.

    The address has the token. Everybody on this machine can read the arguments of a process, so
    the token must not be there. A terminal keeps what it shows, so it is printed only if it must.
    """
    if browser and _open(files, address):
        page = address.partition("#")[0]
        print(f"The browser opens {page}\n--no-browser prints the whole address.")
    else:
        print(address)
    print("Ctrl-C ends it.", flush=True)


def _open(files: ExitStack, address: str) -> bool:
    """Whether a browser was started on a file that leads to the address.

    The file is in the home directory: a browser from a snap has a /tmp of its own.
    """
    try:
        page = Path(files.enter_context(_folder())) / "open.html"
        page.write_text(
            f'<meta http-equiv="refresh" content="0;url={html.escape(address)}">', encoding="utf-8"
        )
        return webbrowser.open(page.as_uri())
    except (OSError, webbrowser.Error) as error:
        note(f"No browser was opened: {safe(str(error))}.")
        return False


def _folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that only the caller can read. Its name has no dot: a snap reads no hidden files."""
    try:
        return tempfile.TemporaryDirectory(prefix="kubectl-conversion-", dir=Path.home())
    except (OSError, RuntimeError):  # no home directory, or a read-only one
        return tempfile.TemporaryDirectory(prefix="kubectl-conversion-")
