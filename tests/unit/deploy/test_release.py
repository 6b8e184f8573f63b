"""`make release`, with Docker and the builds of the images replaced."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from hack.sbom import render_sbom
from tests.unit.deploy.charts import by_name, run_helm
from tests.unit.deploy.rendering import OPERATOR, ROOT, of_kind, render

IMAGES = ("my-converter", "my-converter-gateway", "my-converter-operator")
PLUGIN = (
    *("conversion.yaml", "kubectl-conversion", "kubectl-conversion.tar.gz"),
    "kubectl_complete-conversion",
)
DIGEST = f"sha256:{'a' * 64}"
PREFIX = "registry.example.com/media/"
DOCKER = f"""#!/usr/bin/env bash
case $1 in
create) echo container ;;
export) cat "$EXPORTED" ;;
save) echo "$2" ;;
image) echo {DIGEST} ;;
rm) ;;
*) exit 1 ;;
esac
"""


def exported() -> bytes:
    """The files of an image, as `docker export` prints them."""
    files = {
        "var/lib/dpkg/status.d/libc6": "Package: libc6\nArchitecture: amd64\nVersion: 2.41-12\n",
        "var/lib/dpkg/status.d/libc6.md5sums": "0 usr/lib/libc.so.6\n",
        "packages/py_yaml-6.0.4.dist-info/METADATA": "Name: Py_YAML\nVersion: 6.0.4\n\nText\n",
        "etc/host.conf": "multi on\n",
    }
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as writer:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            writer.addfile(entry, io.BytesIO(text.encode()))
    return archive.getvalue()


def git(folder: Path, *arguments: str) -> None:
    author = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", "-C", folder, *author, *arguments], check=True, timeout=60)


def executable(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone with one commit, whose images are not built."""
    clone = tmp_path / "clone"
    for folder in ("hack", "charts", "crds", "deploy", "plugin"):
        shutil.copytree(
            ROOT / folder, clone / folder, ignore=shutil.ignore_patterns("media", "__pycache__")
        )
    for file in (".gitignore", "LICENSE"):
        shutil.copy(ROOT / file, clone)
    for script in ("images", "base-image"):
        executable(clone / "hack" / script, '#!/bin/sh\necho "$0 $*" >>"$CALLS"\n')
    git(clone, "init", "--quiet")
    git(clone, "add", ".")
    git(clone, "commit", "--quiet", "--message=a")
    tools = clone / ".tools"
    (tools / "bin").mkdir(parents=True)
    (tools / "bin/kubectl").symlink_to((ROOT / ".tools/bin/kubectl").resolve())
    (tools / "venv").symlink_to(sys.prefix)
    executable(tools / "bin/docker", DOCKER)
    (tmp_path / "exported.tar").write_bytes(exported())
    return clone


def release(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    places = {
        "CALLS": str(checkout.parent / "calls"),
        "EXPORTED": str(checkout.parent / "exported.tar"),
    }
    return subprocess.run(
        [checkout / "hack/release", *arguments],
        env=dict(os.environ) | places,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_release_has_everything_with_its_version_and_its_registry(checkout: Path) -> None:
    done = release(checkout, "1.2.3", PREFIX, "https://releases.example.com/1.2.3")
    assert done.returncode == 0, done.stderr
    dist = checkout / "dist"
    names = [f"{image}-1.2.3.{end}" for image in IMAGES for end in ("cdx.json", "tar")]
    assert sorted(path.name for path in dist.iterdir()) == sorted(
        [*names, *PLUGIN, "SHA256SUMS", "install.yaml", "my-network-converter-1.2.3.tgz"]
    )
    krew = yaml.safe_load((dist / "conversion.yaml").read_text(encoding="utf-8"))["spec"]
    assert krew["version"] == "v1.2.3"
    (platform,) = krew["platforms"]
    assert platform["uri"] == "https://releases.example.com/1.2.3/kubectl-conversion.tar.gz"
    archive = (dist / "kubectl-conversion.tar.gz").read_bytes()
    assert platform["sha256"] == hashlib.sha256(archive).hexdigest()
    with zipfile.ZipFile(dist / "kubectl-conversion") as plugin:
        assert plugin.read("kubectl_conversion/version.txt") == b"1.2.3\n"
    calls = (checkout.parent / "calls").read_text(encoding="utf-8")
    assert f"hack/images --release 1.2.3 {PREFIX}\n" in calls
    assert "hack/base-image --refresh\n" in calls
    for image in IMAGES:
        assert (dist / f"{image}-1.2.3.tar").read_text() == f"{PREFIX}{image}:1.2.3\n"
    check = ["sha256sum", "--check", "SHA256SUMS"]
    assert f"$ cd dist && {' '.join(check)}\n" in (ROOT / "docs/install.md").read_text("utf-8")
    checked = subprocess.run(check, cwd=dist, capture_output=True, text=True, check=True).stdout
    files = {path.name for path in dist.iterdir()} - {"SHA256SUMS"}
    assert sorted(checked.splitlines()) == sorted(f"{name}: OK" for name in files)


def images(objects: Any) -> set[str]:
    pods = [item["spec"]["template"]["spec"] for item in of_kind(objects, "Deployment")]
    (settings,) = (
        item["data"]
        for item in of_kind(objects, "ConfigMap")
        if item["metadata"]["name"] == OPERATOR
    )
    return {pod["containers"][0]["image"] for pod in pods} | {settings["CONVERTER_IMAGE"]}


def test_the_manifests_of_a_release_install_what_the_overlay_does(checkout: Path) -> None:
    done = release(checkout, "1.2.3", PREFIX)
    assert done.returncode == 0, done.stderr
    text = (checkout / "dist/install.yaml").read_text(encoding="utf-8")
    found = by_name(yaml.safe_load_all(text))
    overlay = by_name(render("storage-class"))
    crds = {name for name in found if name[0] == "CustomResourceDefinition"}
    assert crds == set(found) - set(overlay)
    assert len(crds) == len(list((ROOT / "crds").iterdir()))
    # Its storage class depends on the cluster.
    assert {name[0] for name in set(overlay) - set(found)} == {"PersistentVolumeClaim"}
    assert images(found.values()) == {f"{PREFIX}{image}:1.2.3" for image in IMAGES}
    chart = run_helm("template", "a", str(checkout / "dist/my-network-converter-1.2.3.tgz"))
    assert chart.returncode == 0, chart.stderr
    rendered = [item for item in yaml.safe_load_all(chart.stdout) if item]
    assert images(rendered) == images(found.values())


def test_the_sbom_lists_each_package_and_is_valid() -> None:
    text = render_sbom(f"{PREFIX}my-converter", "1.2.3", DIGEST, io.BytesIO(exported()))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    body = json.loads(text)
    assert body["metadata"]["component"]["version"] == "1.2.3"
    assert {component["purl"] for component in body["components"]} == {
        "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=trixie",
        "pkg:pypi/py-yaml@6.0.4",
    }
    assert body["metadata"]["component"]["properties"] == [{"name": "image-id", "value": DIGEST}]


@pytest.mark.parametrize("version", ["", "v1.2.3", "1.2", "latest", "1.2.3+a", "01.2.3"])
def test_a_release_needs_a_version(checkout: Path, version: str) -> None:
    done = release(checkout, version)
    assert done.returncode == 1
    assert "make release VERSION=0.2.0" in done.stderr
    assert not (checkout / "dist").exists()


@pytest.mark.parametrize("url", ["http://releases.example.com", "https://a b", 'https://a"b'])
def test_the_address_of_the_plugin_is_an_https_url(checkout: Path, url: str) -> None:
    done = release(checkout, "1.2.3", PREFIX, url)
    assert done.returncode == 1
    assert "is not an https URL" in done.stderr
    assert not (checkout / "dist").exists()


def test_a_release_is_made_from_a_commit(checkout: Path) -> None:
    (checkout / "hack/new").write_text("new")
    done = release(checkout, "1.2.3")
    assert done.returncode == 1
    assert "this checkout has changes" in done.stderr


def test_a_version_that_is_tagged_is_the_tagged_commit(checkout: Path) -> None:
    git(checkout, "tag", "v1.2.3")
    git(checkout, "commit", "--quiet", "--allow-empty", "--message=b")
    done = release(checkout, "1.2.3")
    assert done.returncode == 1
    assert "the tag v1.2.3 is another commit" in done.stderr
    assert release(checkout, "1.2.4").returncode == 0
