"""Starts the plugin: ``kubectl conversion …``."""

from __future__ import annotations

import os
import sys

from kubectl_conversion.kubectl import KubectlError
from kubectl_conversion.terminal import Exit, note


def main() -> None:
    """Run one command, and end with its exit code."""
    # A byte that is not UTF-8 in an argument must not end the plugin with a traceback.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        if sys.argv[1:2] == ["__complete"]:
            from kubectl_conversion.completion import complete

            complete(sys.argv[2:])
            return
        from kubectl_conversion.cli import build

        build(sys.argv[1] if sys.argv[1:] else "")(prog_name="kubectl conversion")
    except KubectlError as error:
        note(f"error: {error.message}")
        if error.cure:
            note(error.cure)
        raise SystemExit(Exit.FAILED) from None
    except KeyboardInterrupt:
        raise SystemExit(Exit.INTERRUPTED) from None
    except BrokenPipeError:
        # The reader, such as head, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(Exit.DONE) from None


if __name__ == "__main__":
    main()
