"""submit."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Final

import typer

from kubectl_conversion import data, guess, kubectl, model, options, source
from kubectl_conversion.commands.watch import follow
from kubectl_conversion.describe import cure_of, plan_lines
from kubectl_conversion.guess import Target, UsageError
from kubectl_conversion.kubectl import Failure, KubectlError
from kubectl_conversion.model import Conversion, text_at
from kubectl_conversion.source import Caller
from kubectl_conversion.terminal import Exit, Format, note, print_lines, print_objects
from kubectl_conversion.text import safe

_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
"""Of generated names, as Kubernetes has them: no vowels, so no words."""
_PLAN_KEPT_SECONDS: Final = 3600


def submit(
    file: Annotated[
        str, typer.Argument(help="Path of the input on the shared volume.", show_default=False)
    ],
    to: Annotated[
        list[str] | None,
        typer.Option("--to", help="mp4, mp3, webp, thumbnail, a conversion type or a profile."),
    ] = None,
    outputs: Annotated[
        list[str] | None, typer.Option("--output-file", "-f", help="Path of the output.")
    ] = None,
    folder: Annotated[str, typer.Option("--output-folder", help="Folder of the outputs.")] = "",
    option: Annotated[
        list[str] | None, typer.Option("--option", help="NAME=VALUE, such as quality=high.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Name of the ConversionJob.")] = "",
    queue: Annotated[str, typer.Option("--queue", help="Name of a ConversionQueue.")] = "",
    priority: Annotated[int | None, typer.Option("--priority", help="-100 to 100.")] = None,
    keep_existing: Annotated[
        bool, typer.Option("--no-overwrite", help="Fail if an output exists.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be made. No file is written.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it until it has ended.")
    ] = False,
    namespace: options.Namespace = "",
    output: options.Output = Format.TABLE,
    context: options.Context = "",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Convert a file on the shared volume.

    The conversion type follows from --to, or from the extension of --output-file. Without
    --output-file, the output is beside the input. Several --to make one conversion with several
    outputs.

    \b
    Examples:
      kubectl conversion submit input/film.mov --to mp4 --option resolution=720p --watch
      kubectl conversion submit input/film.mov -f output/film.jpg
      kubectl conversion submit input/film.mov --to mp4 --to thumbnail --output-folder output
      kubectl conversion submit input/film.mov --to web-video
      kubectl conversion submit input/film.mov --to mp4 --dry-run
    """
    caller = options.caller(context, kubeconfig, namespace)
    try:
        spec = _spec(file, to or [], outputs or [], folder, guess.read_options(option or []))
    except UsageError as error:
        raise options.usage(str(error)) from None
    if "profile" in spec:
        _check_profile(caller, spec["profile"])
    extra = {"queue": queue or None, "priority": priority, "dryRun": dry_run or None}
    extra["overwrite"] = False if keep_existing else None
    extra["ttlSecondsAfterFinished"] = _PLAN_KEPT_SECONDS if dry_run else None
    spec |= {field: value for field, value in extra.items() if value is not None}
    suffix = "".join(secrets.choice(_LETTERS) for _ in range(5))
    created = _create(caller, name or guess.object_name(file, suffix), spec)
    if dry_run or watch:
        raise typer.Exit(_until_end(caller, created, output, dry_run=dry_run))
    if not print_objects(output, [created.raw], single=True):
        print(safe(f"conversionjob/{created.name} created"))
    note(f"To see how it goes: kubectl conversion watch {created.name} -n {created.namespace}")


def _spec(
    file: str, to: list[str], outputs: list[str], folder: str, chosen: dict[str, str]
) -> dict[str, Any]:
    """The spec that a command line asks for. Raises UsageError."""
    if not all([file, *to, *outputs]):
        raise UsageError("a FILE, a --to or an --output-file is empty")
    if not to and not outputs:
        raise UsageError("say what to make: --to mp4, or --output-file PATH")
    profiles = [word for word in to if guess.is_profile(word)]
    if profiles:
        if len(to) > 1 or outputs or folder or chosen:
            raise UsageError(
                f"--to {profiles[0]} is the name of a profile, which says itself what to make: "
                "leave out other --to, --output-file, --output-folder and --option"
            )
        return {"inputFile": file, "profile": profiles[0]}
    made = guess.targets(file, to, outputs, folder)
    guess.check_options([target.conversion_type for target in made], chosen)
    if len(made) == 1:
        return {"inputFile": file, **_output(made[0], chosen)}
    return {"inputFile": file, "outputs": [_output(target, chosen) for target in made]}


def _output(target: Target, chosen: dict[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "conversionType": target.conversion_type,
        "outputFile": target.path,
    }
    if fitting := guess.options_for(target.conversion_type, chosen):
        made["options"] = fitting
    return made


def _check_profile(caller: Caller, name: str) -> None:
    """Say now that there is no such profile: the conversion would wait for it."""
    try:
        caller.kubectl.get(kubectl.path(data.PROFILES, caller.namespace, name))
    except KubectlError as error:
        if error.failure is Failure.NOT_FOUND:
            known = ", ".join(
                sorted({e for t in data.load()["types"].values() for e in t["extensions"]})
            )
            raise options.usage(
                f"--to {name} is neither an extension ({known}), nor thumbnail, nor a conversion "
                f"type, nor a ConversionProfile in namespace {caller.namespace}"
            ) from None
        note(f"Could not look whether the profile exists: {error.message}")


def _create(caller: Caller, name: str, spec: dict[str, Any]) -> Conversion:
    obj = {
        "apiVersion": data.api_version(),
        "kind": "ConversionJob",
        "metadata": {"name": name, "namespace": caller.namespace},
        "spec": spec,
    }
    url = kubectl.path(data.JOBS, caller.namespace, fieldValidation="Strict")
    return model.parse(caller.kubectl.create(url, obj))


def _until_end(caller: Caller, created: Conversion, output: Format, *, dry_run: bool) -> Exit:
    """Show a conversion until it has ended, and say what came of it.

    For a program, only the final object is on stdout.
    """
    for_program = output in (Format.JSON, Format.YAML, Format.NAME)
    text = f"conversionjob/{created.name} created"
    note(text) if for_program else print(safe(text))
    try:
        if dry_run:
            ended = {each.name: each for each in source.until_ended(caller, [created.name], None)}
        else:
            ended = follow(caller, [created.name], None, to_stderr=for_program)
    except KeyboardInterrupt:
        note(f"The conversion goes on. To stop it: kubectl conversion cancel {created.name}")
        return Exit.INTERRUPTED
    last = ended[created.name]
    if text_at(last.raw, "metadata", "uid") != created.uid:
        note(f"Somebody has replaced {created.name} meanwhile.")
        return Exit.FAILED
    if not print_objects(output, [last.raw], single=True):
        print_lines(plan_lines(last))
    if last.phase == "Succeeded":
        return Exit.DONE
    note(f"{last.phase}: {last.reason}: {last.message}")
    note(cure_of(last))
    return Exit.NO
