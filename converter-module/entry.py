"""The image's entry point. Adds the folder of the package, which isolated mode leaves out."""

from __future__ import annotations

import gc
import sys

sys.path.insert(0, "/opt/converter")
# What modules define is never garbage. To look for some takes a tenth of the start-up.
gc.disable()

from media_converter.main import main

gc.freeze()
gc.enable()
raise SystemExit(main())
