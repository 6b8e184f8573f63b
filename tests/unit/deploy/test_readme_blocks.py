"""The commands in a Markdown page are found and run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.support.page_commands import carry_out
from tests.e2e.support.readme import command_blocks, commands_in_text, without


@pytest.mark.parametrize(
    ("page", "scripts"),
    [
        ("```sh\nmake demo\nmake test\n```\n", ["make demo\nmake test\n"]),
        ("```yaml\nkind: ConversionJob\n```\n", []),
        ("```\nmake demo\n```\n", []),
        ("    make demo\n", ["make demo\n"]),
        ("```console\n$ kubectl get convjob\nNAME TYPE\na b\n```\n", ["kubectl get convjob\n"]),
        ("```console\n$ kubectl get \\\n>   convjob\nNAME\n```\n", ["kubectl get \\\n  convjob\n"]),
        (
            "```console\n$ kubectl apply -f - <<'EOF'\na: 1\nEOF\napplied\n$ ls\n```\n",
            ["kubectl apply -f - <<'EOF'\na: 1\nEOF\nls\n"],
        ),
        ("1. First\n\n   ```sh\n   ls\n   ```\n", ["ls\n"]),
    ],
)
def test_commands_in_blocks_are_found(page: str, scripts: list[str]) -> None:
    assert [block.script for block in command_blocks(page)] == scripts


def test_commands_in_a_sentence_are_found() -> None:
    assert commands_in_text("Then `make down`, or\n`make help`.\n\n```sh\nls\n```\n") == [
        "make down",
        "make help",
    ]


def test_excluded_lines_are_left_out() -> None:
    script = "make demo   # fresh machine\nmake help\nls # make demo\n"
    assert without(script, ("make demo",)) == "make help\nls # make demo\n"


def test_commands_run_in_the_folder_with_the_environment(tmp_path: Path) -> None:
    script = 'read line || echo "$WORD" > made'
    carry_out(script, tmp_path, {**os.environ, "WORD": "here"}, limit=10)
    assert (tmp_path / "made").read_text() == "here\n"


@pytest.mark.parametrize("script", ["false", "false | true", 'echo "$NOT_SET"'])
def test_a_command_that_fails_ends_the_script(script: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"\nbefore\n"):
        carry_out(f"echo before\n{script}\ntouch after\n", tmp_path, os.environ, limit=10)
    assert not (tmp_path / "after").exists()
