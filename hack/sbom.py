"""Writes the SBOM of an image (CycloneDX, JSON), from the inventory of packages in the image.

``docker export CONTAINER | python hack/sbom.py NAME VERSION IMAGE_ID`` prints it.
"""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Iterator
from email.parser import HeaderParser
from typing import IO, Final

from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

DEBIAN: Final = "var/lib/dpkg/status.d/"
PYTHON: Final = ".dist-info/METADATA"


def components(archive: tarfile.TarFile) -> Iterator[Component]:
    """The Debian packages and the Python packages of an exported container."""
    for entry in archive:
        path = entry.name.removeprefix("./")
        debian = path.startswith(DEBIAN) and not path.endswith(".md5sums")
        if not debian and not path.endswith(PYTHON):
            continue
        stream = archive.extractfile(entry)
        if stream is None:
            continue
        fields = HeaderParser().parsestr(stream.read().decode())
        name = fields["Package"] if debian else fields["Name"]
        version = fields["Version"]
        url = _debian(fields["Architecture"], name, version) if debian else _pypi(name, version)
        yield Component(
            type=ComponentType.LIBRARY, name=name, version=version, purl=url, bom_ref=str(url)
        )


def _debian(architecture: str, name: str, version: str) -> PackageURL:
    return PackageURL("deb", "debian", name, version, {"arch": architecture, "distro": "trixie"})


def _pypi(name: str, version: str) -> PackageURL:
    return PackageURL("pypi", None, name.lower().replace("_", "-"), version)


def render_sbom(image: str, version: str, image_id: str, exported: IO[bytes]) -> str:
    """The SBOM of an image whose files are in a tar archive."""
    with tarfile.open(fileobj=exported, mode="r|") as archive:
        bom = Bom(components=components(archive))
    bom.metadata.component = Component(
        type=ComponentType.CONTAINER,
        name=image,
        version=version,
        bom_ref=f"{image}:{version}",
        properties=[Property(name="image-id", value=image_id)],
    )
    bom.register_dependency(bom.metadata.component, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


if __name__ == "__main__":
    print(render_sbom(sys.argv[1], sys.argv[2], sys.argv[3], sys.stdin.buffer), end="")
