"""The command line: which verbs there are."""

from __future__ import annotations

from importlib import import_module, resources
from typing import Final

import typer

_HELP: Final = "Submit, watch, explain and repair conversions of media files."
_MORE: Final = "'kubectl conversion doctor' says what is wrong and which command fixes it."
VERBS: Final = {
    "submit": ("submit", "submit"),
    "list": ("look", "list_"),
    "watch": ("watch", "watch"),
    "describe": ("look", "describe"),
    "logs": ("logs", "logs"),
    "wait": ("watch", "wait"),
    "cancel": ("change", "cancel"),
    "retry": ("change", "retry"),
    "stats": ("look", "stats"),
    "top": ("look", "top"),
    "queue": ("queues", "app"),
    "ui": ("ui", "ui"),
    "doctor": ("doctor", "doctor"),
}
"""The module and the function of each verb. ``queue`` has verbs of its own."""


def build(verb: str = "") -> typer.Typer:
    """The app. If ``verb`` is one of the verbs, it has only this one, because it starts faster."""
    app = typer.Typer(
        name="conversion",
        help=_HELP,
        epilog=_MORE,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    # Without a callback, an app with one verb has no verb at all.
    app.callback()(_root)
    for name in (verb,) if verb in VERBS else VERBS:
        module, function = VERBS[name]
        found = getattr(import_module(f"kubectl_conversion.commands.{module}"), function)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    app.command()(version)
    return app


def _root() -> None:
    """Do nothing: the verb does it."""


def version() -> None:
    """Print the version of the plugin."""
    found = resources.files("kubectl_conversion").joinpath("version.txt")
    print(found.read_text("utf-8").strip() if found.is_file() else "0.0.0")
