"""Keeps the settings of a program that runs. A mistake in a setting never ends the program."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Generic

from conversion_operator.cluster.judgement import NO_TEXTS, S, SettingProblem, judge

CONFIG_DIR: Final = Path("/etc/my-network-converter")

logger = logging.getLogger(__name__)


class LiveSettings(Generic[S]):
    """The settings in force, and what is wrong with those that are not.

    The first values come from ``environment`` alone. A protective setting that is invalid from the
    start has no valid value, so the model's ``unprotected`` values apply.
    """

    def __init__(self, model: type[S], environment: Mapping[str, str] = os.environ) -> None:
        self._model, self._environment = model, environment
        self._config = NO_TEXTS
        self._config_known = False
        self._judgement = judge(model, environment, unsure=model.protective)
        self._logged: frozenset[SettingProblem] = frozenset()

    @property
    def current(self) -> S:
        """The settings in force."""
        return self._judgement.settings

    @property
    def problems(self) -> tuple[SettingProblem, ...]:
        """What is wrong with the settings that are not in force."""
        return self._judgement.problems

    def take(self, config: Mapping[str, str] | None = None) -> bool:
        """Take the texts of a ConfigMap. Returns True if a value has changed.

        Logs each new problem once. None: judge the last texts again.
        """
        before = self._judgement
        unsure = before.unsure if self._config_known else self._model.protective
        if config is not None:
            self._config, self._config_known = config, True
        self._judgement = judge(self._model, self._environment, self._config, before.texts, unsure)
        self._log()
        return self.current != before.settings

    def _log(self) -> None:
        for problem in self.problems:
            if problem not in self._logged:
                logger.error("Invalid setting: %s", problem.text)
        for name in sorted({p.name for p in self._logged} - {p.name for p in self.problems}):
            logger.info("The setting %s is not invalid any more", name)
        self._logged = frozenset(self.problems)


def read_folder(folder: Path = CONFIG_DIR) -> dict[str, str]:
    """The texts of a mounted ConfigMap: one file per setting. Empty if there is no folder."""
    files = folder.iterdir() if folder.is_dir() else ()
    return {
        file.name: file.read_text(encoding="utf-8", errors="replace")
        for file in files
        if file.is_file() and not file.name.startswith(".")
    }
