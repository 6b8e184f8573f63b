"""list, describe, stats and top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Final

from kubectl_conversion import (
    counts,
    data,
    estimates,
    installation,
    kubectl,
    options,
    progress,
    source,
)
from kubectl_conversion.describe import describe as describe_lines
from kubectl_conversion.estimates import UNKNOWN, Estimate, Estimates
from kubectl_conversion.kubectl import Failure, KubectlError
from kubectl_conversion.model import Conversion, in_order
from kubectl_conversion.source import Caller
from kubectl_conversion.tables import Column
from kubectl_conversion.terminal import (
    Format,
    columns,
    is_terminal,
    note,
    print_lines,
    print_objects,
    print_table,
    print_value,
)
from kubectl_conversion.text import age, counted, run_time, size

WAITING: Final = ("Pending", "Queued", "Starting")
"""The phases with a reason why a conversion does not run. One of the reasons is Starting."""


def list_(
    names: options.Names = None,
    namespace: options.Namespace = "",
    all_namespaces: options.AllNamespaces = False,
    selector: options.Selector = "",
    output: options.Output = Format.TABLE,
    context: options.Context = "",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """List conversions: what runs first, then what waits, in its order, then what has ended.

    \b
    Examples:
      kubectl conversion list
      kubectl conversion list -A -o wide
      kubectl conversion list -l batch=7 -o json
    """
    if names and (all_namespaces or selector):
        raise options.usage("give names, or -A or -l, but not both")
    caller = options.caller(context, kubeconfig, namespace, all_namespaces=all_namespaces)
    if names:
        found, missing = source.named(caller, names)
        if found:
            single = len(names) == 1
            _print_list(output, in_order(found), {}, single=single, namespaces=False)
        options.check(missing)
        return
    found = source.conversions(caller, selector)[0]
    if not found and output in (Format.TABLE, Format.WIDE):
        note(
            "No conversions found"
            + ("." if all_namespaces else f" in namespace {caller.namespace}.")
        )
        return
    # Without the others of its namespace, nobody knows when a waiting conversion starts.
    known = {} if selector else estimates.of_all(found, datetime.now(UTC))
    _print_list(output, in_order(found), known, single=False, namespaces=all_namespaces)


def _print_list(
    output: Format,
    found: list[Conversion],
    known: Estimates,
    *,
    single: bool,
    namespaces: bool,
) -> None:
    if print_objects(output, [each.raw for each in found], single=single):
        return
    print_conversions(found, known, wide=output is Format.WIDE, namespaces=namespaces)
    failed = sum(each.phase == "Failed" for each in found)
    if failed and is_terminal():
        note(
            f"{counted(failed, 'conversion')} failed: `kubectl conversion describe NAME` says why."
        )


def print_conversions(
    found: Sequence[Conversion], known: Estimates, *, wide: bool, namespaces: bool
) -> None:
    """Print the table of conversions. ``known`` has the estimates of those that wait."""
    now = datetime.now(UTC)
    titles = [Column("NAME"), Column("TYPE", 5), Column("PHASE"), Column("PROGRESS", 3)]
    titles += [
        Column("ETA", 4),
        Column("POSITION", 4),
        Column("SIZE", 6),
        Column("REASON", 1),
        Column("AGE", 2),
    ]
    extra = ["QUEUE", "DURATION", "INPUT", "OUTPUT", "MESSAGE"]
    titles += [Column(title, 7) for title in extra] if wide else []
    rows = []
    for each in found:
        row = [each.name, each.kind, each.phase, progress.progress(each)]
        row.append(progress.eta(each, now, known.get(each.key, UNKNOWN)))
        row += [_waiting(each), size(each.output_size) if each.output_size is not None else ""]
        row += [each.reason, age(each.created, now)]
        if wide:
            seconds = run_time(each.seconds) if each.seconds is not None else ""
            paths = ", ".join(output.path for output in each.outputs)
            row += [each.queue, seconds, each.input, paths, each.message]
        rows.append([each.namespace, *row] if namespaces else row)
    print_table([Column("NAMESPACE"), *titles] if namespaces else titles, rows)


def _waiting(conversion: Conversion) -> str:
    position = conversion.position
    return "" if conversion.phase != "Queued" or position is None else str(position)


def describe(
    names: options.Names = None,
    namespace: options.Namespace = "",
    context: options.Context = "",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Say all about a conversion: its attempts, its reason, and what to do about it.

    \b
    Examples:
      kubectl conversion describe film
    """
    if not names:
        raise options.usage("give the name of a conversion; `kubectl conversion list` has them")
    caller = options.caller(context, kubeconfig, namespace)
    found, failed = source.named(caller, names)
    for number, each in enumerate(found):
        if number:
            print()
        now = datetime.now(UTC)
        print_lines(describe_lines(each, now, columns(), _estimate(caller, each, now)))
    options.check(failed)


def _estimate(caller: Caller, conversion: Conversion, now: datetime) -> Estimate:
    """The estimate for a conversion that waits. Lists its namespace, if the caller may."""
    if conversion.phase != "Queued":
        return UNKNOWN
    try:
        listed = source.conversions(replace(caller, namespace=conversion.namespace))[0]
    except KubectlError:
        return UNKNOWN
    return estimates.of_all(listed, now).get(conversion.key, UNKNOWN)


def stats(
    namespace: options.Namespace = "",
    all_namespaces: options.AllNamespaces = False,
    selector: options.Selector = "",
    output: options.Output = Format.TABLE,
    context: options.Context = "",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Count conversions by type, and say why they wait and fail.

    It counts those that exist: the operator deletes a conversion some time after its end.
    """
    caller = options.caller(context, kubeconfig, namespace, all_namespaces=all_namespaces)
    found, _ = source.conversions(caller, selector)
    rows = counts.by_type(found)
    waits = [each for each in counts.reasons(found, *WAITING) if each[0] != "Starting"]
    failures = counts.reasons(found, "Failed")
    if output in (Format.JSON, Format.YAML):
        value = {
            "types": [asdict(row) for row in rows],
            "waiting": dict(waits),
            "failed": dict(failures),
        }
        print_value(output, value)
        return
    titles = ["TYPE", "WAITING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "MEDIAN", "OUTPUT"]
    spare = (0, 0, 0, 1, 0, 4, 2, 3)
    print_table(
        [Column(title, rank) for title, rank in zip(titles, spare, strict=True)],
        [_stats_row(row) for row in rows],
    )
    for title, listed in (("Waiting", waits), ("Failed", failures)):
        if listed:
            words = [f"{reason or 'no reason'} {number}" for reason, number in listed]
            print_lines(["", f"{title}: {', '.join(words)}"])


def _stats_row(row: counts.TypeStats) -> list[str]:
    numbers = row.waiting, row.running, row.succeeded, row.failed, row.cancelled
    median = "" if row.median_seconds is None else run_time(row.median_seconds)
    return [row.conversion_type, *map(str, numbers), median, size(row.output_bytes)]


def top(
    namespace: options.Namespace = "",
    operator_namespace: options.OperatorNamespace = "",
    output: options.Output = Format.TABLE,
    context: options.Context = "",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Show who has the slots and who waits, by queue and namespace."""
    caller = options.caller(context, kubeconfig, namespace)
    found, notes = _visible(caller)
    queues: list[kubectl.Obj] = []
    limit = None
    try:
        operator = operator_namespace or source.operator_namespace(caller)
    except KubectlError as error:
        notes.append(f"Could not look at queues and slots: {error.message}")
    else:
        try:
            queues = source.queues(caller.kubectl, operator)
        except KubectlError as error:
            notes.append(f"Could not look at the queues in {operator}: {error.message}")
        limit, unknown = _slots(caller, operator)
        notes += unknown
    rows = counts.shares(found, queues)
    if output in (Format.JSON, Format.YAML):
        print_value(
            output, {"slots": limit, "shares": [asdict(row) for row in rows], "unknown": notes}
        )
        return
    used = sum(row.running for row in rows)
    print(f"Slots: {used} in use" + (f" of {limit}" if limit is not None else ""))
    if not rows:
        note("No conversion runs or waits.")
    else:
        titles = (("QUEUE", 0), ("NAMESPACE", 0), ("RUNNING", 0), ("WAITING", 0), ("LIMIT", 1))
        print_table(
            [Column(title, rank) for title, rank in (*titles, ("WEIGHT", 3), ("STOP POLICY", 2))],
            [_share_row(row) for row in rows],
        )
    for text in notes:
        note(text)


def _share_row(row: counts.Share) -> list[str]:
    numbers = [str(row.running), str(row.waiting)]
    known = ["" if value is None else str(value) for value in (row.limit, row.weight)]
    return [row.queue, row.namespace, *numbers, *known, row.stop_policy]


def _visible(caller: Caller) -> tuple[list[Conversion], list[str]]:
    """The conversions of all namespaces, or those of the own one."""
    try:
        return source.conversions(replace(caller, namespace=""))[0], []
    except KubectlError as error:
        if error.failure is not Failure.FORBIDDEN:
            raise
    own = source.conversions(caller)[0]
    return own, [
        f"You may not list the conversions of all namespaces. Those of {caller.namespace} are "
        "counted now; other rows come from the status of the queues."
    ]


def _slots(caller: Caller, operator: str) -> tuple[int | None, list[str]]:
    """The number of slots, if the caller may read the settings."""
    url = kubectl.api_path("api/v1", "configmaps", operator, data.load()["configMap"])
    try:
        settings: dict[str, Any] = caller.kubectl.get(url)
    except KubectlError as error:
        return None, [f"Could not look at the number of slots: {error.message}"]
    text = installation.setting(settings, "CONVERTER_MAX_PARALLEL")
    return (int(text), []) if text.isdecimal() else (None, [])
