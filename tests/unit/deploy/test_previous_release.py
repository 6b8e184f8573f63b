"""The tests of upgrades find the previous release, with and without tags."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.releases import FIRST, NoHistory, Release, previous_release, write_sources


def git(folder: Path, *arguments: str) -> str:
    author = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    done = subprocess.run(
        ["git", "-C", folder, *author, *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout.strip()


def commit(clone: Path, content: str) -> str:
    (clone / "file").write_text(content, encoding="utf-8")
    git(clone, "add", "file")
    git(clone, "commit", "--quiet", "--message=a")
    return git(clone, "rev-parse", "HEAD")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with one commit."""
    made = tmp_path / "clone"
    made.mkdir()
    git(made, "init", "--quiet", "--initial-branch=main")
    commit(made, "first")
    return made


def test_without_tags_it_is_the_first_one(clone: Path) -> None:
    assert previous_release(clone) == FIRST


def test_it_is_the_highest_version_before_this_commit(clone: Path) -> None:
    git(clone, "tag", "v0.9.0")
    tagged = commit(clone, "second")
    git(clone, "tag", "--annotate", "--message=a", "v0.10.0")
    git(clone, "tag", "v0.11.0-rc.1")
    git(clone, "tag", "vacation")
    # A release that this commit is not made from.
    git(clone, "switch", "--quiet", "--create", "other")
    commit(clone, "other")
    git(clone, "tag", "v2.0.0")
    git(clone, "switch", "--quiet", "main")
    commit(clone, "third")
    # This commit is a release itself.
    git(clone, "tag", "v1.0.0")
    assert previous_release(clone) == Release("0.10.0", tagged)


def test_the_sources_are_those_of_the_release(clone: Path, tmp_path: Path) -> None:
    released = git(clone, "rev-parse", "HEAD")
    commit(clone, "second")
    write_sources(clone, Release("1.0.0", released), tmp_path / "sources")
    assert (tmp_path / "sources/file").read_text(encoding="utf-8") == "first"


def test_a_shallow_clone_says_what_to_do(clone: Path, tmp_path: Path) -> None:
    git(clone, "tag", "v0.1.0")
    released = git(clone, "rev-parse", "HEAD")
    commit(clone, "second")
    git(tmp_path, "clone", "--quiet", "--depth=1", clone.as_uri(), "shallow")
    shallow = tmp_path / "shallow"
    assert previous_release(shallow) == FIRST
    with pytest.raises(NoHistory, match=r"release 0\.1\.0 .* git fetch --unshallow --tags"):
        write_sources(shallow, Release("0.1.0", released), tmp_path / "sources")
    git(shallow, "fetch", "--quiet", "--unshallow", "--tags")
    assert previous_release(shallow) == Release("0.1.0", released)
    write_sources(shallow, previous_release(shallow), tmp_path / "sources")
