"""logs."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from kubectl_conversion import data, http_api, kubectl, options, source
from kubectl_conversion.kubectl import Failure, KubectlError, Obj
from kubectl_conversion.model import Conversion, text_at
from kubectl_conversion.source import Caller
from kubectl_conversion.terminal import Exit, note, print_lines
from kubectl_conversion.text import counted, safe, safe_lines

_PROGRESS: Final = b'{"progress":'
"""The beginning of the lines that the converter writes for the operator."""


def logs(
    name: options.Name,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines as they come.")
    ] = False,
    attempt: Annotated[
        int | None,
        typer.Option("--attempt", help="Of which attempt. Default: the last one.", min=1),
    ] = None,
    account: Annotated[
        str,
        typer.Option(
            "--account",
            help="Service account of the namespace, to ask the HTTP API for a stored log.",
            metavar="NAME",
        ),
    ] = http_api.ACCOUNT,
    namespace: options.Namespace = "",
    operator_namespace: options.OperatorNamespace = "",
    context: options.Context = "",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Print the log of a conversion: from its pod, or the stored log when the pod is deleted.

    The HTTP API has the stored log. Without it, the end of the log is in the status.

    \b
    Examples:
      kubectl conversion logs film -f
      kubectl conversion logs film --attempt 1
    """
    caller = options.caller(context, kubeconfig, namespace)
    conversion = source.conversion(caller, name)
    if follow and not conversion.finished:
        conversion = _started(caller, conversion)
    wanted = attempt or (conversion.attempts[-1].number if conversion.attempts else 1)
    try:
        pod = _pod(caller, conversion, wanted)
    except KubectlError as error:
        note(f"Could not look for the pod: {error.message}")
        pod = None
    if pod is not None and _print_live(caller, conversion, pod, follow=follow):
        return
    why = _print_from_api(caller, conversion, wanted, account, operator_namespace)
    if why:
        _print_stored(conversion, wanted, why)


def _print_from_api(
    caller: Caller, conversion: Conversion, attempt: int, account: str, home: str
) -> str:
    """Print the log on the volume. Returns why it cannot be had, "" if it was printed."""
    if not 0 < attempt <= (conversion.attempts[-1].number if conversion.attempts else 0):
        return "there was no such attempt"
    try:
        home = home or source.operator_namespace(caller)
        found = http_api.log(caller, home, account, conversion.name, attempt)
    except KubectlError as error:
        return error.message
    if not found.whole:
        return "the volume does not have it"
    print_lines(safe_lines(found.text.rstrip("\n")))
    return ""


def _started(caller: Caller, conversion: Conversion) -> Conversion:
    """The conversion, as soon as its container has started or it has ended."""
    if conversion.phase != "Running":
        note(f"{conversion.name} waits: {conversion.reason}. Its log begins when it runs.")
    last = conversion
    for last in source.until_ended(caller, [conversion.name], None):
        if last.phase == "Running" or last.finished:
            break
    return last


def _pod(caller: Caller, conversion: Conversion, attempt: int) -> Obj | None:
    """The pod of an attempt. None if there is none.

    Anybody may give a pod our labels. The status has the uid of the pod that counts.
    """
    uids = {each.number: each.pod_uid for each in conversion.attempts}
    known = data.load()
    labels = f"{known['uidLabel']}={conversion.uid},{known['attemptLabel']}={attempt}"
    url = kubectl.api_path("api/v1", "pods", conversion.namespace, labelSelector=labels)
    found = caller.kubectl.get_list(url)["items"]
    return next(
        (pod for pod in found if text_at(pod, "metadata", "uid") == uids.get(attempt)), None
    )


def _print_live(caller: Caller, conversion: Conversion, pod: Obj, *, follow: bool) -> bool:
    """Print the log of a pod. False if it has none yet, or if it is deleted meanwhile."""
    # Sidecars, which a mesh adds to the pod, may be before the converter.
    query = {"container": data.load()["container"]}
    if follow:
        query["follow"] = "true"
    url = kubectl.api_path(
        "api/v1", "pods", conversion.namespace, text_at(pod, "metadata", "name"), "log", **query
    )
    try:
        with caller.kubectl.stream(url) as lines:
            for line in lines:
                if line.startswith(_PROGRESS):
                    continue
                print(
                    *safe_lines(line.decode("utf-8", "replace").rstrip("\n")),
                    sep="\n",
                    flush=follow,
                )
    except KubectlError as error:
        if error.failure in (Failure.NOT_FOUND, Failure.NO_RESOURCE):
            return False
        note(f"Could not read the log of the pod: {error.message}")
        return False
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None
    return True


def _print_stored(conversion: Conversion, attempt: int, why: str) -> None:
    """Print the end of the log that the status keeps. ``why`` the whole log cannot be had."""
    last = conversion.attempts[-1].number if conversion.attempts else 0
    if not last:
        note(f"{conversion.name} has had no attempt: {conversion.reason}")
        raise typer.Exit(Exit.NO)
    if attempt > last:
        note(f"{conversion.name} has had {counted(last, 'attempt')}.")
        raise typer.Exit(Exit.NO)
    if attempt < last:
        note(f"The pod of attempt {attempt} does not exist. The status has the log of {last} only.")
        note(f"The stored log cannot be read: {safe(why)}")
        raise typer.Exit(Exit.NO)
    if not conversion.logs:
        note(f"{conversion.name} has no log yet: {conversion.phase}, {conversion.reason}")
        raise typer.Exit(Exit.NO)
    note(f"The stored log cannot be read: {safe(why)}")
    note(f"The pod of attempt {last} cannot be read. This is the end of its log in the status:")
    print_lines(safe_lines(conversion.logs.rstrip("\n")))
