"""The image's entry point. Adds the folder of the package, which isolated mode leaves out."""

from __future__ import annotations

import sys

sys.path.insert(0, "/opt/converter")

from media_converter.main import main

raise SystemExit(main())
