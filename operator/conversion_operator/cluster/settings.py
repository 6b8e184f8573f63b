"""Reads settings from environment variables, a mounted ConfigMap, or the defaults.

Environment variables override the ConfigMap. A mounted ConfigMap is a folder with one file per key.
The kubelet updates the files when the ConfigMap changes.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, Generic, TypeVar

from pydantic_settings import BaseSettings

CONFIG_DIR: Final = Path("/etc/my-network-converter")

S = TypeVar("S", bound=BaseSettings)

logger = logging.getLogger(__name__)


def read_settings(model: type[S], folder: Path = CONFIG_DIR) -> S:
    """Read the settings. Raises ValidationError. Its message names the setting."""
    # _secrets_dir is pydantic-settings' name for a folder with one file per value.
    return model(_secrets_dir=folder if folder.is_dir() else None)


class LiveSettings(Generic[S]):
    """Keeps the last valid settings: a mistake in the ConfigMap must not stop the program."""

    def __init__(self, model: type[S], folder: Path = CONFIG_DIR) -> None:
        """Read the settings. Raises ValidationError."""
        self._model, self._folder = model, folder
        self.current = read_settings(model, folder)

    def reload(self) -> bool:
        """Read the settings again. Returns True if one has changed."""
        try:
            fresh = read_settings(self._model, self._folder)
        except (OSError, ValueError) as error:  # ValidationError is a ValueError
            logger.error("Invalid settings; keeping the previous ones: %s", error)
            return False
        changed, self.current = fresh != self.current, fresh
        return changed


def render_table(model: type[BaseSettings]) -> str:
    """A Markdown table with one row per setting."""
    rows = "\n".join(
        f"| `{name.upper()}` | `{field.default}` | {' '.join((field.description or '').split())} |"
        for name, field in model.model_fields.items()
    )
    rows = rows.replace("`True`", "`true`").replace("``", "empty")
    return f"| Setting | Default | Meaning |\n|---|---|---|\n{rows}\n"
