"""The options that several commands have, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from kubectl_conversion.kubectl import Kubectl, KubectlError
from kubectl_conversion.source import Caller
from kubectl_conversion.terminal import Exit, Format, note

Namespace = Annotated[
    str, typer.Option("--namespace", "-n", help="Namespace of the conversions.", metavar="NAME")
]
AllNamespaces = Annotated[
    bool, typer.Option("--all-namespaces", "-A", help="The conversions of all namespaces.")
]
Selector = Annotated[
    str, typer.Option("--selector", "-l", help="Only those with these labels, such as batch=7.")
]
Output = Annotated[
    Format, typer.Option("--output", "-o", help="How to print.", metavar="json|yaml|wide|name")
]
Context = Annotated[
    str, typer.Option("--context", help="Context of the kubeconfig.", metavar="NAME")
]
Kubeconfig = Annotated[
    str, typer.Option("--kubeconfig", help="Path of the kubeconfig.", metavar="FILE")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before many are changed.")]
OperatorNamespace = Annotated[
    str,
    typer.Option(
        "--operator-namespace",
        help="Namespace of the operator. Default: the one that serves the namespace.",
        metavar="NAME",
    ),
]


def _names(given: list[str] | None) -> list[str] | None:
    """Refuse an empty name, such as that of an unset variable: it would stand for all objects."""
    if not all(given or ()):
        raise typer.BadParameter("a name is empty")
    return given


def _name(given: str) -> str:
    if not given:
        raise typer.BadParameter("the name is empty")
    return given


Names = Annotated[
    list[str] | None, typer.Argument(metavar="NAME...", show_default=False, callback=_names)
]
Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False, callback=_name)]


def caller(
    context: str, kubeconfig: str, namespace: str = "", *, all_namespaces: bool = False
) -> Caller:
    """Who asks. Without -n, the namespace is that of the context, as for kubectl."""
    kubectl = Kubectl(context, kubeconfig)
    if all_namespaces:
        return Caller(kubectl, "")
    return Caller(kubectl, namespace or kubectl.namespace())


def check(errors: Sequence[KubectlError]) -> None:
    """End the command if something has failed. A single error has its cure."""
    if len(errors) == 1:
        raise errors[0]
    for error in errors:
        note(f"error: {error.message}")
    if errors:
        raise typer.Exit(Exit.FAILED)


def usage(message: str) -> typer.Exit:
    """The end of a command that cannot mean this."""
    note(f"error: {message}")
    return typer.Exit(Exit.USAGE)


def seconds(text: str) -> float | None:
    """A timeout such as 90s, 5m or 1h. None for no timeout."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], text[-1:]) if text[-1:] in units else (text, "s")
    if text in ("", "0"):
        return None
    try:
        read = float(number) * units[unit]
    except ValueError:
        read = -1.0
    if not 0 < read < 1e9:
        raise usage(f"--timeout {text!r} is not a duration such as 90s, 5m or 1h")
    return read
