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
from kubectl_conversion.kubectl import KubectlError
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
        bool, typer.Option("--no-browser", help="Print the address, and open no browser.")
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
    """Forward the port until Ctrl-C, again and again: a pod of the HTTP API may be replaced."""
    failures, opened = 0, False
    with ExitStack() as files:
        while True:
            begun = time.monotonic()
            try:
                with caller.kubectl.forward(home, data.GATEWAY, port, "http") as (found, wait):
                    port = found
                    if not opened:
                        opened = True
                        _tell(files, f"http://127.0.0.1:{port}/ui/#{fragment}", browser=browser)
                    error = wait()
            except KubectlError as failure:
                if not opened:
                    raise
                error = failure
            failures = failures + 1 if time.monotonic() - begun < _SHORT_SECONDS else 0
            if failures >= _TRIES:
                raise error
            note(f"The connection has ended: {safe(error.message)}. Forwarding port {port} again.")
            time.sleep(_PAUSE_SECONDS)


def _tell(files: ExitStack, address: str, *, browser: bool) -> None:
    """Print the address. Open the browser on a file of the caller that leads there.

    Everybody on this machine can read the arguments of a process, so the token must not be there.
    """
    print(f"{address}\nCtrl-C ends it.", flush=True)
    if not browser:
        return
    folder = Path(files.enter_context(tempfile.TemporaryDirectory(prefix="kubectl-conversion-")))
    page = folder / "open.html"
    page.write_text(
        f'<meta http-equiv="refresh" content="0;url={html.escape(address)}">', encoding="utf-8"
    )
    webbrowser.open(page.as_uri())
