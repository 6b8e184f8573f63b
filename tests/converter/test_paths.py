"""Nothing outside of the volume can be read or written, whatever the paths are."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from media_converter.contract import ConversionType, ExitReason
from tests.converter.containers import RESTRICTED, Image
from tests.converter.harness import IMAGE, UID, VIDEO, Case, Converter, Workspace
from tests.converter.kitchen import Kitchen
from tests.converter.lab import Lab
from tests.converter.probing import near
from tests.converter.rawfiles import RGB, png
from tests.converter.recipes import looped_video

REFUSALS = {
    ExitReason.PATH_NOT_ALLOWED,
    ExitReason.INPUT_NOT_FOUND,
    ExitReason.INPUT_NOT_REGULAR,
    ExitReason.OUTPUT_NOT_WRITABLE,
    ExitReason.OUTPUT_IS_INPUT,
}
SECRET = (255, 0, 0)
OWN = (0, 0, 255)


@dataclass(frozen=True)
class Borders:
    """A volume, and next to it a folder that a conversion must not touch.

    The container mounts both, the outer one as /outside and writable. Only the converter itself
    prevents access.
    """

    converter: Converter
    outside: Path

    @property
    def root(self) -> Path:
        return self.converter.workspace.root

    def state(self) -> dict[str, bytes]:
        return {
            str(p.relative_to(self.outside)): p.read_bytes() if p.is_file() else b""
            for p in sorted(self.outside.rglob("*"))
        }


@pytest.fixture(scope="module")
def borders(
    image: Image, tmp_path_factory: pytest.TempPathFactory, kitchen: Kitchen
) -> Iterator[Borders]:
    inner = Workspace(tmp_path_factory.mktemp("inner"))
    outer = tmp_path_factory.mktemp("outer")
    movie = kitchen.read(kitchen.base())
    for root, pixel in ((inner.root, OWN), (outer, SECRET)):
        for name, content in (
            ("pic.png", png(32, 32, 8, RGB, bytes(pixel) * 32)),
            ("video.mp4", movie),
            ("victim.jpg", b"old content"),
        ):
            (root / name).write_bytes(content)
            os.chown(root / name, UID, UID)
    (outer / "folder").mkdir()
    for path in (outer, outer / "folder"):
        os.chown(path, UID, UID)
        path.chmod(0o777)
    volumes = (f"--volume={inner.root}:/workspace", f"--volume={outer}:/outside")
    with image.agent(*RESTRICTED, *volumes) as agent:
        yield Borders(Converter(agent, inner, image.entrypoint), outer)


def link(target: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        if not path.is_symlink():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)

    return make


# What is created, and the input path of the request.
INPUTS: dict[str, tuple[str, Callable[[Path], None] | None, str]] = {
    "parent": ("", None, "/../outside/pic.png"),
    "parents": ("", None, "../../../../../../outside/pic.png"),
    "parent in the middle": ("", None, "/out/../../outside/pic.png"),
    "parent after nothing": ("", None, "/nowhere/../../outside/pic.png"),
    "parent at the end": ("", None, "/media/.."),
    "double slash": ("", None, "//outside/pic.png"),
    "absolute": ("", None, "/outside/pic.png"),
    "dot": ("", None, "/./../outside/pic.png"),
    "backslash": ("", None, "..\\outside\\pic.png"),
    "encoded": ("", None, "/%2e%2e/outside/pic.png"),
    "file address": ("", None, "file:///outside/pic.png"),
    "protocol": ("", None, "concat:/outside/video.mp4|/outside/video.mp4"),
    "subfile": ("", None, "subfile,,start,0,end,0,,:/outside/video.mp4"),
    "data": ("", None, "data:image/png;base64,AAAA"),
    "pipe": ("", None, "pipe:0"),
    "http": ("", None, "http://127.0.0.1:9999/x.mp4"),
    "proc root": ("", None, "/../proc/1/root/outside/pic.png"),
    "passwd": ("", None, "/../etc/passwd"),
    "dev": ("", None, "/../dev/stdin"),
    "absolute link": ("l1.png", link("/outside/pic.png"), "/l1.png"),
    "relative link": ("l2.png", link("../outside/pic.png"), "/l2.png"),
    "deep relative link": ("a/b/l3.png", link("../../../outside/pic.png"), "/a/b/l3.png"),
    "link to a folder": ("d1", link("/outside"), "/d1/pic.png"),
    "relative link to a folder": ("d2", link("../outside"), "/d2/pic.png"),
    "link to the root": ("d3", link("/"), "/d3/outside/pic.png"),
    "link to a link": ("d4", link("d3"), "/d4/outside/pic.png"),
    "link to proc": ("d5", link("/proc/self/root"), "/d5/outside/pic.png"),
    "link to a descriptor": ("l6.png", link("/proc/self/fd/0"), "/l6.png"),
    "link to the working folder": ("d6", link("/proc/1/cwd"), "/d6/outside/pic.png"),
    "link in a circle": ("c1", link("c1"), "/c1/pic.png"),
    "link to a parent": ("d7", link(".."), "/d7/outside/pic.png"),
    "link with a tail": ("d8", link("/outside/folder/.."), "/d8/pic.png"),
    "dangling link": ("l7.png", link("/outside/none.png"), "/l7.png"),
    "link to a device": ("l8.png", link("/dev/zero"), "/l8.png"),
}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("kind", [IMAGE, VIDEO])
def test_nothing_outside_is_read(borders: Borders, name: str, kind: ConversionType) -> None:
    place, make, source = INPUTS[name]
    if make:
        make(borders.root / place)
    if kind is VIDEO:
        source = source.replace("pic.png", "video.mp4")
    before = borders.state()
    target = f"/{borders.converter.workspace.scratch()}/out.{'jpg' if kind is IMAGE else 'mp4'}"
    run = borders.converter.start(Case(kind, source, target)).end()
    assert run.reason in REFUSALS, f"{run.reason}: {run.report.message}"
    if make or ".." in source.split("/"):
        assert run.reason is ExitReason.PATH_NOT_ALLOWED
    assert not borders.converter.workspace.path(target).exists()
    assert borders.state() == before
    assert "root:" not in run.report.logs


OUTPUTS: dict[str, tuple[str, Callable[[Path], None] | None, str]] = {
    "parent": ("", None, "/../outside/new.jpg"),
    "parents": ("", None, "../../../outside/new.jpg"),
    "parent in the middle": ("", None, "/out/../../outside/new.jpg"),
    "parent in a new folder": ("", None, "/new1/../../outside/new.jpg"),
    "temporary folder": ("", None, "/../tmp/new.jpg"),
    "standard output": ("", None, "/../dev/stdout.jpg"),
    "volume itself": ("", None, "/"),
    "folder": ("", None, "/out/"),
    "dot": ("", None, "/out/."),
    "protocol": ("", None, "/file:/../../outside/new.jpg"),
    "link to a folder": ("od1", link("/outside"), "/od1/new.jpg"),
    "relative link to a folder": ("od2", link("../outside"), "/od2/new.jpg"),
    "link above a new folder": ("od3", link("/outside"), "/od3/made/up/new.jpg"),
    "link to the root": ("od4", link("/"), "/od4/outside/new.jpg"),
    "link to a parent": ("od5", link(".."), "/od5/outside/new.jpg"),
    "link to proc": ("od6", link("/proc/self/cwd"), "/od6/outside/new.jpg"),
    "dangling folder": ("od7", link("/outside/made"), "/od7/new.jpg"),
    "link to a folder inside": ("x/od8", link("../od1"), "/x/od8/new.jpg"),
    "folder of another": ("od9", link("/outside/folder"), "/od9/new.jpg"),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_nothing_outside_is_written(borders: Borders, name: str) -> None:
    place, make, target = OUTPUTS[name]
    if make:
        make(borders.root / place)
    before = borders.state()
    run = borders.converter.start(Case(IMAGE, "/pic.png", target)).end()
    assert run.reason in {*REFUSALS, ExitReason.INVALID_OPTIONS}, (
        f"{run.reason}: {run.report.message}"
    )
    assert borders.state() == before


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("victim", "/outside/victim.jpg"),
        ("relative victim", "../outside/victim.jpg"),
        ("dangling", "/outside/new.jpg"),
        ("device", "/dev/null"),
        ("own input", "../../pic.png"),
    ],
)
def test_a_link_at_the_output_is_never_written_through(
    borders: Borders, name: str, target: str
) -> None:
    folder = borders.converter.workspace.scratch("links")
    place = borders.root / folder / "out.jpg"
    place.symlink_to(target)
    before, bitmap = borders.state(), (borders.root / "pic.png").read_bytes()
    run = borders.converter.start(Case(IMAGE, "/pic.png", f"/{folder}/out.jpg")).end()
    assert borders.state() == before, name
    assert (borders.root / "pic.png").read_bytes() == bitmap
    wanted = ExitReason.OUTPUT_IS_INPUT if name == "own input" else ExitReason.PATH_NOT_ALLOWED
    assert run.reason is wanted, "a link may be intended, so it is not replaced"
    assert place.is_symlink()


def test_a_hard_link_at_the_output_is_replaced_and_not_written(borders: Borders) -> None:
    folder = borders.converter.workspace.scratch("hard")
    place = borders.root / folder / "out.jpg"
    os.link(borders.outside / "victim.jpg", place)
    run = borders.converter.start(Case(IMAGE, "/pic.png", f"/{folder}/out.jpg")).end()
    assert (borders.outside / "victim.jpg").read_bytes() == b"old content"
    if run.output:
        assert place.stat().st_nlink == 1


def test_an_output_that_is_a_folder(borders: Borders) -> None:
    folder = borders.converter.workspace.scratch("folder")
    place = borders.root / folder / "out.jpg"
    place.mkdir()
    (place / "kept").touch()
    run = borders.converter.start(Case(IMAGE, "/pic.png", f"/{folder}/out.jpg")).end()
    assert run.reason in REFUSALS
    assert sorted(p.name for p in place.parent.iterdir()) == ["out.jpg"]
    assert (place / "kept").exists()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_an_output_that_cannot_be_replaced_is_refused_before_the_conversion(
    kitchen: Kitchen, converter: Converter, make: Callable[[Path], None]
) -> None:
    folder = converter.workspace.scratch("special")
    make(converter.workspace.path(f"{folder}/out.mp4"))
    # A video that takes minutes: a rename would fail too, but only after them.
    case = Case(VIDEO, looped_video(kitchen), f"{folder}/out.mp4", {"quality": "high"})
    run = converter.run(case)
    assert run.reason is ExitReason.OUTPUT_NOT_WRITABLE
    assert run.ended.cpu < 5


SWAP = """
import ctypes, os, select, sys

exchange = ctypes.CDLL(None, use_errno=True).renameat2
names = [os.fsencode(name) for name in sys.argv[1:]]
here, both = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
turns = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(20):
        if exchange(here, names[0], here, names[1], both):
            raise OSError(ctypes.get_errno(), "renameat2")
    turns += 20
print(turns)
"""


@contextmanager
def swapping(place: Path, outside: str) -> Iterator[None]:
    """Exchange a name with a link to the outside and back, as fast as possible.

    The exchange is atomic: the name always exists, which is needed to fool a check that comes
    before the use. This runs in a process of its own, because a thread would be slower and would
    slow down this process.
    """
    link_place = place.with_name(f"{place.name}.link")
    link_place.symlink_to(outside)
    command = [sys.executable, "-c", SWAP, str(place), str(link_place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as it:
        yield
        # It exits at the end of its input.
        turns = it.communicate(timeout=30)[0]
    assert int(turns) > 200


def test_a_folder_swapped_for_a_link_while_the_output_is_written(borders: Borders) -> None:
    folder = borders.root / borders.converter.workspace.scratch("race")
    (folder / "d").mkdir()
    os.chown(folder / "d", UID, UID)
    before = borders.state()
    with swapping(folder / "d", "/outside/folder"):
        target = f"/{folder.relative_to(borders.root)}/d/out.jpg"
        for _ in range(25):
            # Check only the outside: the output's own folder comes and goes.
            start = borders.converter.start(Case(IMAGE, "/pic.png", target))
            start.killed()
            assert borders.state() == before


def assert_own(lab: Lab, outputs: set[bytes]) -> None:
    """Check outputs made from the volume's own image: there are some, and most are equal."""
    assert outputs
    for content in outputs:
        copied = lab.workspace.path(f"out/race-{hashlib.sha256(content).hexdigest()}.png")
        copied.write_bytes(content)
        assert near(lab.image(copied).at(0.5, 0.5), OWN, 12), "the outside was read"


def test_a_folder_swapped_for_a_link_while_the_input_is_read(borders: Borders, lab: Lab) -> None:
    folder = borders.root / borders.converter.workspace.scratch("race")
    (folder / "d").mkdir()
    (folder / "d" / "pic.png").write_bytes((borders.root / "pic.png").read_bytes())
    name = folder.relative_to(borders.root)
    outputs: set[bytes] = set()
    with swapping(folder / "d", "/outside"):
        for attempt in range(25):
            target = f"/{name}/out{attempt}.png"
            borders.converter.start(Case(IMAGE, f"/{name}/d/pic.png", target)).killed()
            output = borders.converter.workspace.path(target)
            if output.exists():
                outputs.add(output.read_bytes())
    assert_own(lab, outputs)


def test_a_file_swapped_for_a_link_while_it_is_opened(borders: Borders, lab: Lab) -> None:
    folder = borders.root / borders.converter.workspace.scratch("race")
    real = folder / "pic.png"
    real.write_bytes((borders.root / "pic.png").read_bytes())
    name = folder.relative_to(borders.root)
    outputs: set[bytes] = set()
    with swapping(real, "/outside/pic.png"):
        for attempt in range(25):
            target = f"/{name}/out{attempt}.png"
            borders.converter.start(Case(IMAGE, f"/{name}/pic.png", target)).killed()
            output = borders.converter.workspace.path(target)
            if output.exists():
                outputs.add(output.read_bytes())
    assert_own(lab, outputs)


def test_the_output_is_the_input(kitchen: Kitchen, converter: Converter) -> None:
    plain = kitchen.read(kitchen.base())
    folder = converter.workspace.scratch("same")
    place = converter.workspace.path(f"{folder}/video.mp4")
    place.write_bytes(plain)
    os.chown(place, UID, UID)
    for target in (f"/{folder}/video.mp4", f"{folder}/video.mp4", f"//{folder}//video.mp4"):
        run = converter.start(Case(VIDEO, f"/{folder}/video.mp4", target)).end()
        assert run.reason is ExitReason.OUTPUT_IS_INPUT
        assert run.wall < 5
        assert place.read_bytes() == plain
    hard = converter.workspace.path(f"{folder}/hard.mp4")
    os.link(place, hard)
    run = converter.start(Case(VIDEO, f"/{folder}/video.mp4", f"/{folder}/hard.mp4")).end()
    assert run.reason is ExitReason.OUTPUT_IS_INPUT
    soft = converter.workspace.path(f"{folder}/soft.mp4")
    soft.symlink_to("video.mp4")
    for source, target in (("video.mp4", "soft.mp4"), ("soft.mp4", "video.mp4")):
        run = converter.start(Case(VIDEO, f"/{folder}/{source}", f"/{folder}/{target}")).end()
        assert run.reason in REFUSALS
    assert place.read_bytes() == plain
    assert sorted(p.name for p in place.parent.iterdir()) == ["hard.mp4", "soft.mp4", "video.mp4"]


def test_an_existing_output_is_replaced_at_once(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("replace")
    place = converter.workspace.path(f"{folder}/out.mp4")
    place.write_bytes(b"old")
    os.chown(place, UID, UID)
    inode = place.stat().st_ino
    run = converter.run(Case(VIDEO, f"/{kitchen.base()}", f"/{folder}/out.mp4"))
    assert run.path.stat().st_ino != inode
    refused = converter.run(
        Case(VIDEO, f"/{kitchen.write('broken.mp4', b'no video')}", f"/{folder}/out.mp4")
    )
    assert refused.reason is ExitReason.UNSUPPORTED_FORMAT
    assert place.read_bytes() == run.path.read_bytes()


def test_missing_folders_are_created(kitchen: Kitchen, converter: Converter) -> None:
    folder = converter.workspace.scratch("new")
    run = converter.run(Case(VIDEO, kitchen.base(), f"{folder}/one/two/Ünï/three/out.mp4"))
    assert run.path.is_file()
