"""The previous release of this project, from which tests upgrade."""

from __future__ import annotations

import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True)
class Release:
    """A version and the commit that it is made from."""

    version: str
    commit: str


FIRST: Final = Release("0.1.0", "6a6e91fd02b543f71fb29228211a3fb63a6c9b46")
"""The first release. A clone without tags knows no other one."""


class NoHistory(Exception):
    """The clone does not have the commit of the release. ``str()`` says what to do."""


def previous_release(clone: Path) -> Release:
    """The highest version whose tag is on a commit before this one; the first release if none is.

    Tags of pre-releases do not count.
    """
    listed = _git(
        *(clone, "tag", "--list", "v*", "--merged", "HEAD", "--no-contains", "HEAD"),
        *("--sort=version:refname", "--format=%(refname:short)"),
    )
    tags = [tag for tag in listed.splitlines() if re.fullmatch(r"v\d+\.\d+\.\d+", tag)]
    if not tags:
        return FIRST
    commit = _git(clone, "rev-list", "--max-count=1", f"refs/tags/{tags[-1]}")
    return Release(tags[-1].removeprefix("v"), commit.strip())


def write_sources(clone: Path, release: Release, folder: Path) -> None:
    """Write the files of a release to a new folder. Raises NoHistory if the clone lacks them."""
    try:
        _git(clone, "cat-file", "-e", f"{release.commit}^{{commit}}")
    except subprocess.CalledProcessError as error:
        raise NoHistory(
            f"the upgrade from the release {release.version} cannot be tested: this clone does not "
            f"have its commit {release.commit}. Fetch it: git fetch --unshallow --tags"
        ) from error
    folder.mkdir()
    archive = folder.with_suffix(".tar")
    _git(clone, "archive", f"--output={archive}", release.commit)
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    archive.unlink()


def _git(clone: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", clone, *arguments], check=True, capture_output=True, text=True, timeout=60
    ).stdout
