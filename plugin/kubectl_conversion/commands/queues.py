"""queue list, hold, resume and limit."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kubectl_conversion import data, kubectl, options, source
from kubectl_conversion.model import dig, items_at, number_at, text_at
from kubectl_conversion.source import Caller
from kubectl_conversion.tables import Column
from kubectl_conversion.terminal import Format, note, print_objects, print_table
from kubectl_conversion.text import safe

app = typer.Typer(
    help="List, hold, resume and limit ConversionQueues.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _operator(
    context: str, kubeconfig: str, namespace: str, operator_namespace: str
) -> tuple[Caller, str]:
    caller = options.caller(context, kubeconfig, namespace)
    return caller, operator_namespace or source.operator_namespace(caller)


@app.command("list")
def list_(
    namespace: options.Namespace = "",
    operator_namespace: options.OperatorNamespace = "",
    output: options.Output = Format.TABLE,
    context: options.Context = "",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """List the queues with their limits and counts."""
    caller, operator = _operator(context, kubeconfig, namespace, operator_namespace)
    found = source.queues(caller.kubectl, operator)
    if print_objects(output, found, single=False):
        return
    if not found:
        note(
            f"There are no ConversionQueues in namespace {operator}: all are in the queue default."
        )
        return
    titles = (("NAME", 0), ("MAX", 1), ("STOP POLICY", 2), ("QUEUED", 0), ("RUNNING", 0))
    print_table(
        [Column(title, rank) for title, rank in (*titles, ("BLOCKED", 0), ("PROBLEM", 3))],
        [_row(queue) for queue in found],
    )


def _row(queue: dict[str, Any]) -> list[str]:
    counts = [number_at(queue, "status", name) for name in ("queued", "running", "blocked")]
    most = number_at(queue, "spec", "maxParallel")
    problems = [
        text_at(condition, "message")
        for condition in items_at(queue, "status", "conditions")
        if text_at(condition, "status") == "False"
    ]
    shown = ["?" if count is None else str(count) for count in counts]
    return [
        text_at(queue, "metadata", "name"),
        "" if most is None else str(most),
        text_at(queue, "spec", "stopPolicy"),
        *shown,
        "; ".join(problems),
    ]


@app.command()
def hold(
    name: options.Name,
    drain: Annotated[
        bool, typer.Option("--drain", help="Also stop those that run. They start again later.")
    ] = False,
    namespace: options.Namespace = "",
    operator_namespace: options.OperatorNamespace = "",
    context: options.Context = "",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Let no conversion of a queue start. Those that run continue."""
    caller, operator = _operator(context, kubeconfig, namespace, operator_namespace)
    policy = "HoldAndDrain" if drain else "Hold"
    _set(caller, operator, name, "stopPolicy", policy)
    print(safe(f"conversionqueue/{name} is held" + (" and drained" if drain else "")))


@app.command()
def resume(
    name: options.Name,
    namespace: options.Namespace = "",
    operator_namespace: options.OperatorNamespace = "",
    context: options.Context = "",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Let conversions of a queue start again."""
    caller, operator = _operator(context, kubeconfig, namespace, operator_namespace)
    _set(caller, operator, name, "stopPolicy", "None")
    print(safe(f"conversionqueue/{name} is resumed"))


@app.command()
def limit(
    name: options.Name,
    most: Annotated[str, typer.Argument(help="How many may run at a time, or none.")],
    namespace: options.Namespace = "",
    operator_namespace: options.OperatorNamespace = "",
    context: options.Context = "",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Set how many conversions of a queue may run at a time. A lower limit stops nothing.

    \b
    Examples:
      kubectl conversion queue limit bulk 2
      kubectl conversion queue limit bulk none
    """
    if most != "none" and not (most.isascii() and most.isdecimal()):
        raise options.usage(f"{most!r} is neither a number nor none")
    caller, operator = _operator(context, kubeconfig, namespace, operator_namespace)
    _set(caller, operator, name, "maxParallel", None if most == "none" else int(most))
    print(
        safe(f"conversionqueue/{name} has " + ("no limit" if most == "none" else f"limit {most}"))
    )


def _set(caller: Caller, operator: str, name: str, field: str, value: object) -> None:
    """Set a field of the spec of the queue that exists now."""
    queue = caller.kubectl.get(kubectl.path(data.QUEUES, operator, name))
    patch: list[dict[str, Any]] = [
        {"op": "test", "path": "/metadata/uid", "value": text_at(queue, "metadata", "uid")}
    ]
    if dig(queue, "spec") is None:
        patch.append({"op": "add", "path": "/spec", "value": {}})
    if value is not None:
        patch.append({"op": "add", "path": f"/spec/{field}", "value": value})
    elif dig(queue, "spec", field) is not None:
        patch.append({"op": "remove", "path": f"/spec/{field}"})
    caller.kubectl.patch(data.QUEUES, operator, name, patch)
