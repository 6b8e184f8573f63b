"""The version of the operator and of the HTTP API. It comes from the Git tags."""

from __future__ import annotations

import os
from importlib import metadata

_VARIABLE = "MY_CONVERTER_VERSION"
"""Set in the images; see hack/images."""
_DISTRIBUTION = "mynetwork-converter-operator"


def version() -> str:
    """The version of the image or of the installed package. 0.0.0 in a clone."""
    try:
        return os.environ.get(_VARIABLE) or metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0.0.0"
