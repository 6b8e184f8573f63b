"""cancel and retry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Annotated

import typer

from kubectl_conversion import data, kubectl, model, options, source
from kubectl_conversion.commands.watch import follow
from kubectl_conversion.kubectl import Failure, KubectlError
from kubectl_conversion.model import Conversion
from kubectl_conversion.retry import retried_uid, retry_name, retry_of
from kubectl_conversion.source import Caller
from kubectl_conversion.terminal import Exit, confirm, note
from kubectl_conversion.text import counted, safe

_NAMED: int = 3


def cancel(
    names: options.Names = None,
    everything: Annotated[bool, typer.Option("--all", help="All that have not ended.")] = False,
    namespace: options.Namespace = "",
    all_namespaces: options.AllNamespaces = False,
    selector: options.Selector = "",
    yes: options.Yes = False,
    context: options.Context = "",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Cancel conversions. Those that have ended stay as they are.

    \b
    Examples:
      kubectl conversion cancel film
      kubectl conversion cancel -l batch=7 --yes
    """
    caller = options.caller(context, kubeconfig, namespace, all_namespaces=all_namespaces)
    found, missing = _chosen(caller, names, selector, everything=everything)
    open_ = [each for each in found if not each.finished]
    if names:
        for each in found:
            if each.finished:
                note(f"{each.name} has ended already: {each.phase}")
    _confirm("Cancel", open_, asked=not names, yes=yes)
    _each(caller, open_, _cancel)
    options.check(missing)
    if names and not open_:
        raise typer.Exit(Exit.NO)


def retry(
    names: options.Names = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that have failed.")] = False,
    namespace: options.Namespace = "",
    all_namespaces: options.AllNamespaces = False,
    selector: options.Selector = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show them until they end.")] = False,
    yes: options.Yes = False,
    context: options.Context = "",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Run conversions again that have ended.

    A retry is a new ConversionJob with the same spec. The old one stays, with its reason and its
    log. Of several outputs, only those are made that do not exist. A conversion is retried once:
    to run it a third time, retry the retry.

    With -l, those are retried that have failed or were cancelled.

    \b
    Examples:
      kubectl conversion retry film --watch
      kubectl conversion retry --failed
      kubectl conversion retry -l batch=7 --yes
    """
    caller = options.caller(context, kubeconfig, namespace, all_namespaces=all_namespaces)
    found, missing = _chosen(caller, names, selector, everything=failed)
    if names:
        running = [each.name for each in found if not each.finished]
        if running:
            raise options.usage(
                f"{', '.join(running[:_NAMED])} has not ended: cancel it first, or wait"
            )
        chosen = found
    else:
        wanted = ("Failed",) if failed else ("Failed", "Cancelled")
        done = {retried_uid(each.raw) for each in found}
        chosen = [each for each in found if each.phase in wanted and each.uid not in done]
    _confirm("Retry", chosen, asked=not names, yes=yes)
    before: list[str] = []
    act = partial(_retry, cache(source.restore_labels), before)
    made = _each(caller, chosen, act)
    options.check(missing)
    if watch and made:
        ended = follow(caller, made, None)
        if any(each.phase != "Succeeded" for each in ended.values()):
            raise typer.Exit(Exit.NO)
    if names and before:
        raise typer.Exit(Exit.NO)


def _chosen(
    caller: Caller, names: Sequence[str] | None, selector: str, *, everything: bool
) -> tuple[list[Conversion], list[KubectlError]]:
    """The conversions that a command line means, and why named ones cannot be read."""
    if names:
        if selector or everything or not caller.namespace:
            raise options.usage("give names, or a selection, but not both")
        return source.named(caller, names)
    if not selector and not everything:
        raise options.usage("say which ones: names, -l, or the option for all")
    return source.conversions(caller, selector)[0], []


def _confirm(verb: str, chosen: Sequence[Conversion], *, asked: bool, yes: bool) -> None:
    if not chosen:
        if asked:
            note("There are none.")
        return
    if asked:
        some = ", ".join(each.name for each in chosen[:_NAMED])
        more = f" and {len(chosen) - _NAMED} more" if len(chosen) > _NAMED else ""
        confirm(f"{verb} {counted(len(chosen), 'conversion')} ({some}{more})?", yes=yes)


def _each(
    caller: Caller, chosen: Sequence[Conversion], act: Callable[[Caller, Conversion], str | None]
) -> list[str]:
    """Change each of them. One that fails does not keep the others from being changed."""
    made, failed = [], 0
    for each in chosen:
        try:
            name = act(replace(caller, namespace=each.namespace), each)
        except KubectlError as error:
            note(f"error: {each.name}: {error.message}")
            failed += 1
        else:
            made += [name] if name else []
    if failed:
        raise typer.Exit(Exit.FAILED)
    return made


def _cancel(caller: Caller, conversion: Conversion) -> str:
    patch: list[kubectl.Obj] = [
        {"op": "test", "path": "/metadata/uid", "value": conversion.uid},
        {"op": "add", "path": "/spec/cancel", "value": True},
    ]
    caller.kubectl.patch(data.JOBS, conversion.namespace, conversion.name, patch)
    print(safe(f"conversionjob/{conversion.name} is being cancelled"))
    return conversion.name


def _retry(
    restore_labels: Callable[[Caller], frozenset[str]],
    before: list[str],
    caller: Caller,
    conversion: Conversion,
) -> str:
    """Create the retry. If it exists, its name is added to ``before``."""
    labelled = bool(model.dig(conversion.raw, "metadata", "labels"))
    obj = retry_of(conversion, restore_labels(caller) if labelled else ())
    url = kubectl.path(data.JOBS, conversion.namespace, fieldValidation="Strict")
    try:
        created = model.parse(caller.kubectl.create(url, obj))
    except KubectlError as error:
        if error.failure is not Failure.EXISTS:
            raise
        before.append(_retried_before(caller, conversion))
        return before[-1]
    print(safe(f"conversionjob/{created.name} created, a retry of {conversion.name}"))
    return created.name


def _retried_before(caller: Caller, conversion: Conversion) -> str:
    """The retry that exists. Raises KubectlError if something else has its name."""
    name = retry_name(conversion)
    there = source.conversion(caller, name)
    if retried_uid(there.raw) != conversion.uid:
        raise KubectlError(Failure.EXISTS, f"{name} exists, and is no retry of {conversion.name}")
    note(f"{conversion.name} has been retried already, as {name} ({there.phase})")
    return name
