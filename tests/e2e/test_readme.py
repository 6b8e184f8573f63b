"""Every command of README.md is carried out, in the order of the page, on the tests' cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.support.commands import ROOT, Kubectl, must
from tests.e2e.support.conversions import NAMESPACE
from tests.e2e.support.operator import OperatorInCluster
from tests.e2e.support.page_commands import carry_out
from tests.e2e.support.readme import Block, command_blocks, commands_in_text, without

README = ROOT / "README.md"
CI = ROOT / ".ci/run"
RUN_BY_CI = ("make demo", "make test")
"""They make clusters of their own. .ci/run runs them; nothing else is left out here."""

PAGE = README.read_text(encoding="utf-8")
BLOCKS = command_blocks(PAGE)


@pytest.fixture(scope="module")
def checkout(
    tmp_path_factory: pytest.TempPathFactory,
    kubectl: Kubectl,
    operator: OperatorInCluster,
    volume: Path,
) -> Iterator[Path]:
    """A folder like the reader's, whose shared/ is the volume of the tests' cluster."""
    folder = tmp_path_factory.mktemp("checkout")
    for entry in ROOT.iterdir():
        if entry.name not in ("shared", ".git"):
            (folder / entry.name).symlink_to(entry)
    (folder / "shared").symlink_to(volume)
    # The reader has run the demo, which applies the samples and has them finished.
    kubectl("apply", "-f", str(ROOT / "deploy/samples"))
    kubectl.wait(
        "condition=Finished", "-f", str(ROOT / "deploy/samples"), "-n", NAMESPACE, seconds=120
    )
    yield folder
    kubectl("-n", NAMESPACE, "delete", "convjob", "--all", limit=120)
    # As they ship again, whichever settings the page changes and whether they were seen or not.
    kubectl("apply", "-k", str(ROOT / "tests/e2e/overlay"))
    operator.scale(0)
    operator.scale(1)


def test_the_page_has_commands_and_ci_runs_those_that_are_left_out() -> None:
    assert len(BLOCKS) > 1
    typed = {line.split("#")[0].strip() for block in BLOCKS for line in block.script.splitlines()}
    assert set(RUN_BY_CI) <= typed
    ci = CI.read_text(encoding="utf-8").splitlines()
    # The demo there has a name of its own, given as variables after the target.
    assert set(RUN_BY_CI) <= {" ".join(line.split()[:2]) for line in ci}


def test_what_make_is_told_to_do_in_sentences_exists() -> None:
    targets = [code for code in commands_in_text(PAGE) if code.startswith("make ")]
    for target in targets:
        must("make", "-C", str(ROOT), "--dry-run", target.removeprefix("make "))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"line {block.line}")
def test_the_commands_work(block: Block, checkout: Path, kubectl: Kubectl) -> None:
    script = without(block.script, RUN_BY_CI)
    carry_out(script, checkout, kubectl.environment(), limit=120)
