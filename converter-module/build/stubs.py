"""Makes stubs of libraries that libvips names, but needs only for what the converter does not do.

Debian's libvips reads MATLAB, FITS, OpenEXR and SVG files, draws text, writes ZIP archives and
computes Fourier transforms. The libraries for these tasks bring 61 others, among them curl, GnuTLS,
Kerberos and LDAP. Without them, a process of libvips starts in a third of the time, and the image
has less code that an attacker could use.

The dynamic loader requires each library and symbol that libvips names. A stub has these symbols. A
call of one aborts the process.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys

LIBRARY = pathlib.Path("/usr/lib/x86_64-linux-gnu")
LIBVIPS = LIBRARY / "libvips.so.42"
UNUSED = (
    "libarchive.so.13",
    "libcairo.so.2",
    "libcfitsio.so.10",
    "libfftw3.so.3",
    "libfontconfig.so.1",
    "libmatio.so.13",
    "libOpenEXR-3_1.so.30",
    "libpango-1.0.so.0",
    "libpangocairo-1.0.so.0",
    "libpangoft2-1.0.so.0",
    "librsvg-2.so.2",
)
# libvips calls this function of cfitsio to find out whether a file that no other loader knows is a
# FITS file. It answers with an error: no.
ANSWERS = {"ffdkopn": 1}


def main(folder: pathlib.Path) -> None:
    """Write one stub for each library into ``folder``. libvips must be installed."""
    folder.mkdir(parents=True)
    wanted = symbols(LIBVIPS, "--undefined-only")
    for name in UNUSED:
        used = sorted(wanted & symbols(LIBRARY / name, "--defined-only"))
        if not used:
            raise SystemExit(f"libvips uses nothing of {name}: remove it from the list")
        lines = [function(symbol) for symbol in used]
        subprocess.run(
            [
                *("gcc", "-shared", "-fPIC", "-fcf-protection", "-nostdlib", "-x", "c", "-"),
                *("-Wl,-z,relro,-z,now", f"-Wl,-soname,{name}", "-o", str(folder / name)),
            ],
            input="\n".join(lines),
            text=True,
            check=True,
        )


def function(symbol: str) -> str:
    """The function of a stub, in C."""
    if symbol in ANSWERS:
        return f"int {symbol}(void) {{ return {ANSWERS[symbol]}; }}"
    return f"void {symbol}(void) {{ __builtin_trap(); }}"


def symbols(library: pathlib.Path, which: str) -> set[str]:
    """The names of the symbols that a library defines or needs, without their versions."""
    printed = subprocess.run(
        ["nm", "--dynamic", "--format=posix", which, str(library)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return {line.split()[0].partition("@")[0] for line in printed.splitlines() if line}


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
