"""doctor."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import typer

from kubectl_conversion import options
from kubectl_conversion.kubectl import Kubectl
from kubectl_conversion.terminal import Exit, Format, columns, is_terminal, print_value
from kubectl_conversion.text import counted, safe, wrap

if TYPE_CHECKING:
    from kubectl_conversion.diagnosis.findings import Finding

_WIDTH: Final = 9


def doctor(
    namespace: options.Namespace = "",
    operator_namespace: options.OperatorNamespace = "",
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Also show what is OK."),
    output: options.Output = Format.TABLE,
    context: options.Context = "",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Say what is wrong with the installation, and which command mends it.

    It changes nothing. The exit code is 0 if all is well, 3 if there is a fault or a warning, and 4
    if something could not be looked at.

    \b
    Examples:
      kubectl conversion doctor
      kubectl conversion doctor -n team-a -v
    """
    # The other verbs start faster without the checks.
    from kubectl_conversion.diagnosis import checks, facts
    from kubectl_conversion.diagnosis.findings import Level

    asker = Kubectl(context, kubeconfig)
    known = facts.connect(asker, namespace)
    found = checks.connection(known)
    if checks.connected(known):
        found += checks.all_checks(facts.look(asker, known, operator_namespace))
    if output in (Format.JSON, Format.YAML):
        print_value(output, {"findings": [asdict(each) for each in found]})
    else:
        _print(found, verbose=verbose)
    levels = {each.level for each in found}
    if levels & {Level.FAULT, Level.WARNING}:
        raise typer.Exit(Exit.NO)
    if Level.UNKNOWN in levels:
        raise typer.Exit(Exit.UNKNOWN)


def _print(found: list[Finding], *, verbose: bool) -> None:
    """Print the findings: first what must be mended."""
    from kubectl_conversion.diagnosis.findings import Level

    order = [Level.FAULT, Level.WARNING, Level.UNKNOWN, Level.OK]
    room = columns() if is_terminal() else 100_000
    for finding in sorted(found, key=lambda each: order.index(each.level)):
        if finding.level is Level.OK and not verbose:
            continue
        text = f"{finding.subject}: {finding.text}"
        first, *rest = wrap(safe(text), max(20, room - _WIDTH)) or [""]
        print(f"{finding.level:{_WIDTH}}{first}")
        for line in rest:
            print(f"{'':{_WIDTH}}{line}")
        if finding.cure:
            # A command must be in one line to be copied.
            print(f"{'':{_WIDTH}}→ {safe(finding.cure)}")
    numbers = {level: sum(each.level is level for each in found) for level in Level}
    print(
        f"{counted(numbers[Level.FAULT], 'fault')}, {counted(numbers[Level.WARNING], 'warning')}, "
        f"{numbers[Level.UNKNOWN]} not checked, {numbers[Level.OK]} OK."
    )
