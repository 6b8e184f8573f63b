"""The base image that is built where no container registry answers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.deploy.rendering import ROOT

MIRROR = "http://mirror.example/debian/"
SECURITY = "http://fixes.example/debian-security/"
SPY = """#!/bin/sh
echo "{name} $*" >>"$SPIED"
{does}
"""
PROGRAMS = {
    "apt-get": "[ \"$1\" != indextargets ] || printf '%s\\n' $URIS",
    "chroot": 'case $* in *upgrade*) cp "$1/etc/apt/sources.list" "$SPIED.sources" ;; esac',
    "debootstrap": "for last; do work=$before before=$last; done; "
    'mkdir -p "$work/etc/apt" "$work/usr/share/doc"',
    "docker": "cat >/dev/null",
    "dpkg-query": "echo 'install ok installed'",
    "id": "echo 0",
}
"""What the script runs, and what stands for it here."""


@pytest.mark.parametrize(
    ("uris", "security"),
    [(f"{MIRROR} {SECURITY}", SECURITY), (MIRROR, "http://mirror.example/debian-security")],
    ids=["apt uses it", "beside the mirror"],
)
@pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="the script needs Debian")
def test_it_has_the_fixes_of_debian(tmp_path: Path, uris: str, security: str) -> None:
    shutil.copytree(ROOT / "hack", tmp_path / "hack")
    spies, spied = tmp_path / "bin", tmp_path / "spied"
    spies.mkdir()
    for name, does in PROGRAMS.items():
        (spies / name).write_text(SPY.format(name=name, does=does), encoding="utf-8")
        (spies / name).chmod(0o755)
    environment = {
        "PATH": f"{spies}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "SPIED": str(spied),
        "URIS": uris,
    }
    subprocess.run([tmp_path / "hack/offline/base-image"], env=environment, check=True, timeout=60)
    sources = Path(f"{spied}.sources").read_text(encoding="utf-8").splitlines()
    assert sources == [
        f"deb {MIRROR} trixie main",
        f"deb {MIRROR} trixie-updates main",
        f"deb {security} trixie-security main",
    ]
    calls = [line.split()[0] for line in spied.read_text(encoding="utf-8").splitlines()]
    assert calls.index("debootstrap") < calls.index("chroot") < calls.index("docker")
    assert calls.count("chroot") == 2, "the lists, and the upgrade"
