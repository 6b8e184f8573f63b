"""The demo and the user's kubeconfig, with the other scripts and programs replaced."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.deploy.rendering import ROOT

OTHERS = ("tools", "docker", "cluster", "images", "deploy", "plugin")
PROGRAM = """#!/usr/bin/env bash
printf '%s' "${0##*/}" >>"$CALLS"
printf ' %q' "$@" >>"$CALLS"
echo >>"$CALLS"
case "$*" in
*'type=="Finished"'*) for _ in deploy/samples/*.yaml; do echo True; done ;;
*status.phase*) echo Succeeded,5,output/a.mp4 ;;
*) echo NAME AGE ;;
esac
"""
# What kind and kubectl do by default: they write to the kubeconfig of the user.
WRITER = (
    PROGRAM
    + """
case "$*" in
*--kubeconfig*) ;;
*) echo 'current-context: kind-mynetwork' >"${KUBECONFIG:-$HOME/.kube/config}" ;;
esac
"""
)


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    clone = tmp_path / "clone"
    (clone / "hack").mkdir(parents=True)
    for script in ("demo", "lib.sh", "env"):
        shutil.copy(ROOT / "hack" / script, clone / "hack" / script)
    for script in OTHERS:
        executable(clone / "hack" / script, PROGRAM)
    for program in ("kind", "kubectl"):
        executable(clone / ".tools/bin" / program, WRITER)
    shutil.copytree(ROOT / "deploy/samples", clone / "deploy/samples")
    (clone / "shared/input").mkdir(parents=True)
    return clone


def environment(home: Path) -> dict[str, str]:
    path = os.environ["PATH"]
    return {"HOME": str(home), "PATH": path, "CALLS": str(home / "calls")}


def test_the_demo_leaves_the_kubeconfig_of_the_user_as_it_is(clone: Path, tmp_path: Path) -> None:
    kubeconfig = tmp_path / ".kube/config"
    kubeconfig.parent.mkdir()
    kubeconfig.write_text("current-context: production\n", encoding="utf-8")
    done = subprocess.run(
        [clone / "hack/demo", "mynetwork", "shared"],
        cwd=clone,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "kubectl conversion list -n my-network" in done.stdout
    assert "kubectl conversion ui -n my-network" in done.stdout
    calls = (tmp_path / "calls").read_text(encoding="utf-8")
    assert re.search(r"^kubectl .*apply", calls, re.MULTILINE), calls
    assert kubeconfig.read_text(encoding="utf-8") == "current-context: production\n"


def test_make_env_sets_the_path_and_the_kubeconfig(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", 'eval "$(make env)" && command -v kubectl && echo "$KUBECONFIG"'],
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    tools = ROOT / ".tools"
    assert done.stdout.split() == [f"{tools}/bin/kubectl", f"{tools}/kube/mynetwork.yaml"]


def test_the_readme_says_where_both_are_and_what_is_changed() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert 'eval "$(make env)"' in page
    assert ".tools/bin/kubectl" in page
    assert ".tools/kube/mynetwork.yaml" in page
    table = page[page.index("## What `make demo` needs and changes") :]
    # Each place outside the clone that a script of hack/ writes to is in the table.
    assert "CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/mynetwork-converter" in (
        ROOT / "hack/lib.sh"
    ).read_text(encoding="utf-8")
    for place in ("`~/.cache/mynetwork-converter`", "`.tools/`", "`shared/`", "| Docker |"):
        assert place in table


def test_the_first_sentence_of_the_readme_says_what_this_is_and_for_whom() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    first = page.split("\n\n")[1].replace("\n", " ")
    first = re.split(r"(?<=[.]) ", first)[0]
    for word in ("Kubernetes operator", "converts video, audio and image files", "for platforms"):
        assert word in first
