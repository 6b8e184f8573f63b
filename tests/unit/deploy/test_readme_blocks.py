"""The commands in a Markdown page are found."""

from __future__ import annotations

import pytest

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
