"""Where the image starts. Isolated mode leaves the package's folder off the path; this adds it."""

from __future__ import annotations

import sys

sys.path.insert(0, "/opt/converter")

from media_converter.main import main

raise SystemExit(main())
