"""The command line: which verbs there are."""

from __future__ import annotations

from importlib import resources

import typer

from kubectl_conversion.commands import change, doctor, logs, look, queues, submit, watch

app = typer.Typer(
    name="conversion",
    help="Submit, watch, explain and repair conversions of media files.",
    epilog="'kubectl conversion doctor' says what is wrong and which command mends it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(submit.submit)
app.command("list")(look.list_)
app.command()(watch.watch)
app.command()(look.describe)
app.command()(logs.logs)
app.command()(watch.wait)
app.command()(change.cancel)
app.command()(change.retry)
app.command()(look.stats)
app.command()(look.top)
app.add_typer(queues.app, name="queue")
app.command()(doctor.doctor)


@app.command()
def version() -> None:
    """Print the version of the plugin."""
    found = resources.files("kubectl_conversion").joinpath("version.txt")
    print(found.read_text("utf-8").strip() if found.is_file() else "0.0.0")
