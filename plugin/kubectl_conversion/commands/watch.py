"""watch and wait."""

from __future__ import annotations

import queue
import shutil
import sys
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from kubectl_conversion import estimates, options, progress, source
from kubectl_conversion.estimates import UNKNOWN, Estimate
from kubectl_conversion.model import Conversion, in_order
from kubectl_conversion.source import Caller, Change
from kubectl_conversion.terminal import Exit, has_colour, is_terminal, note
from kubectl_conversion.text import counted, safe, shorten

_REFRESH_SECONDS: Final = 1.0
_BAR: Final = 20
_STYLES: Final = {"Running": "cyan", "Succeeded": "green", "Failed": "red", "Cancelled": "yellow"}


def watch(
    names: options.Names = None,
    namespace: options.Namespace = "",
    all_namespaces: options.AllNamespaces = False,
    selector: options.Selector = "",
    context: options.Context = "",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Show conversions as they change, with their progress, speed and time left.

    With names, it ends when they have ended. Otherwise press Ctrl-C.

    \b
    Examples:
      kubectl conversion watch
      kubectl conversion watch film
    """
    caller = options.caller(context, kubeconfig, namespace, all_namespaces=all_namespaces)
    if names and (all_namespaces or selector):
        raise options.usage("give names, or -A or -l, but not both")
    try:
        if names:
            raise typer.Exit(_code(follow(caller, names, None), names))
        _all(caller, selector)
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None


def wait(
    names: options.Names = None,
    namespace: options.Namespace = "",
    selector: options.Selector = "",
    timeout: Annotated[
        str, typer.Option("--timeout", help="How long to wait, such as 90s or 5m. 0: no limit.")
    ] = "0",
    context: options.Context = "",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Wait until conversions have ended.

    The exit code is 0 if all have succeeded, 3 if not, and 4 if the time is up.

    \b
    Examples:
      kubectl conversion wait film --timeout 10m
      kubectl conversion wait -l batch=7
    """
    limit = options.seconds(timeout)
    if bool(names) == bool(selector):
        raise options.usage("give names or -l")
    caller = options.caller(context, kubeconfig, namespace)
    if not names:
        names = [each.name for each in source.conversions(caller, selector)[0]]
        if not names:
            note(f"No conversions in namespace {caller.namespace} have the labels {selector}.")
            raise typer.Exit(Exit.FAILED)
    ended: dict[str, Conversion] = {}
    for each in source.until_ended(caller, names, limit):
        if each.finished:
            ended[each.name] = each
            print(_line(each))
    code = _code(ended, names)
    if code is Exit.UNKNOWN:
        left = [name for name in names if name not in ended]
        note(f"{counted(len(left), 'conversion')} did not end in {timeout}: {', '.join(left[:10])}")
    raise typer.Exit(code)


def follow(
    caller: Caller, names: list[str], timeout: float | None, *, to_stderr: bool = False
) -> dict[str, Conversion]:
    """Show conversions until they have ended, and return those that have."""
    if is_terminal() and not to_stderr:
        return _Live(caller).follow(source.until_ended(caller, names, timeout))
    ended: dict[str, Conversion] = {}
    shown: dict[str, str] = {}
    for each in source.until_ended(caller, names, timeout):
        if shown.get(each.name) != (line := _line(each)):
            print(line, file=sys.stderr if to_stderr else sys.stdout, flush=True)
        shown[each.name] = line
        if each.finished:
            ended[each.name] = each
    return ended


def _code(ended: dict[str, Conversion], names: Iterable[str]) -> Exit:
    if any(each.phase != "Succeeded" for each in ended.values()):
        return Exit.NO
    return Exit.DONE if set(names) <= set(ended) else Exit.UNKNOWN


def _line(conversion: Conversion) -> str:
    state = progress.state(conversion, datetime.now(UTC))
    words = f"{conversion.name}   {conversion.phase}   {state}"
    if conversion.phase in ("Failed", "Cancelled"):
        words = (
            f"{conversion.name}   {conversion.phase}   {conversion.reason}: {conversion.message}"
        )
    return safe(words)


def _all(caller: Caller, selector: str) -> None:
    """Show all conversions until somebody presses Ctrl-C."""
    changes = source.changes(caller, selector, "", None)
    if is_terminal():
        _Live(caller, has_all=not selector).run(changes)
        return
    shown: dict[tuple[str, str], str] = {}
    for change in changes:
        for each in change.found:
            line = f"{each.name}   Deleted   " if change.kind == "DELETED" else _line(each)
            if shown.get(each.key) != line:
                prefix = "" if caller.namespace else f"{safe(each.namespace)}   "
                print(f"{prefix}{line.rstrip()}", flush=True)
            shown[each.key] = line


class _Live:
    """The table on a terminal. A thread reads the changes; each second the table is drawn again."""

    def __init__(self, caller: Caller, *, has_all: bool = False) -> None:
        """``has_all``: it gets all conversions, so it knows when those that wait start."""
        self._has_all = has_all
        self._namespaces = not caller.namespace
        self._known: dict[tuple[str, str], Conversion] = {}
        self._events: queue.Queue[Change | BaseException | None] = queue.Queue()

    def follow(self, conversions: Iterable[Conversion]) -> dict[str, Conversion]:
        """Show single conversions until ``conversions`` ends."""
        self.run(Change("MODIFIED", (each,)) for each in conversions)
        return {each.name: each for each in self._known.values() if each.finished}

    def run(self, changes: Iterable[Change]) -> None:
        """Show changes until there are no more. Raises what ``changes`` raises."""
        from rich.console import Console
        from rich.live import Live

        threading.Thread(target=self._read, args=(changes,), daemon=True).start()
        console = Console(no_color=not has_colour(), highlight=False, emoji=False)
        with Live(console=console, auto_refresh=False, transient=False) as live:
            going = True
            while going:
                going = self._take()
                live.update(self._table(), refresh=True)

    def _read(self, changes: Iterable[Change]) -> None:
        try:
            for change in changes:
                self._events.put(change)
        except BaseException as error:
            self._events.put(error)
        self._events.put(None)

    def _take(self) -> bool:
        """Take what has arrived. False after the last change."""
        try:
            event = self._events.get(timeout=_REFRESH_SECONDS)
            while True:
                if event is None:
                    return False
                if isinstance(event, BaseException):
                    raise event
                self._apply(event)
                event = self._events.get_nowait()
        except queue.Empty:
            return True

    def _apply(self, change: Change) -> None:
        if change.kind == "LISTED":
            self._known = {}
        for each in change.found:
            if change.kind == "DELETED":
                self._known.pop(each.key, None)
            else:
                self._known[each.key] = each

    def _table(self) -> Any:
        from rich.text import Text

        size = shutil.get_terminal_size()
        rows = in_order(self._known.values())
        shown = rows[: max(1, size.lines - 3)]
        now, text = datetime.now(UTC), Text(no_wrap=True, overflow="crop")
        known = estimates.of_all(rows, now) if self._has_all else {}
        for each in shown:
            row = self._row(each, size.columns, now, known.get(each.key, UNKNOWN))
            text.append(row + "\n", _STYLES.get(each.phase, ""))
        if more := len(rows) - len(shown):
            text.append(f"and {more} more\n")
        if not rows:
            text.append("No conversions yet.\n")
        text.right_crop(1)
        return text

    def _row(self, each: Conversion, columns: int, now: datetime, estimate: Estimate) -> str:
        """One conversion in one line: name, bar, state. On a narrow terminal without a bar."""
        state = safe(progress.state(each, now, estimate))
        name = f"{each.namespace}/{each.name}" if self._namespaces else each.name
        bar = ""
        if columns >= 80:
            done = 100 if each.phase == "Succeeded" else each.percent or 0
            bar = (
                f"  {progress.bar(done, _BAR)}"
                if each.phase in ("Running", "Succeeded")
                else " " * (_BAR + 2)
            )
        state = shorten(state, max(10, columns // 2 if not bar else columns - _BAR - 30))
        room = max(6, columns - len(bar) - 2 - (30 if bar else len(state)))
        name = shorten(safe(name), room)
        return f"{name:{min(room, 40)}}{bar}  {state}"[:columns]
