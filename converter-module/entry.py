"""The image's entry point. Isolated mode ignores the package's folder, so this adds it."""

from __future__ import annotations

import sys

sys.path.insert(0, "/opt/converter")

from media_converter.main import main

raise SystemExit(main())
