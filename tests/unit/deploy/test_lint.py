"""The checks before a commit are those of `make lint`, with the same versions."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import yaml

from hack.generate import generated_files
from tests.unit.deploy.rendering import ROOT

LINT = (ROOT / "hack/lint").read_text(encoding="utf-8")
CONFIG: dict[str, Any] = yaml.safe_load(
    (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
)
HOOKS = {hook["id"]: hook for repository in CONFIG["repos"] for hook in repository["hooks"]}


def programs(text: str) -> set[str]:
    known = "ruff|mypy|basedpyright|lint-imports|deptry|shellcheck"
    return set(re.findall(rf"\b({known})\b(?! *=)", text))


def test_every_hook_runs_a_tool_of_the_lock_file() -> None:
    for repository in CONFIG["repos"]:
        assert repository["repo"] == "local"
    for name, hook in HOOKS.items():
        assert hook["language"] == "system", name
        assert ".tools/venv/bin/" in hook["entry"], name


def test_the_hooks_are_the_checks_of_make_lint() -> None:
    checks = [line for line in LINT.splitlines() if line.startswith("check ")]
    assert programs("\n".join(checks)) == programs("\n".join(h["entry"] for h in HOOKS.values()))
    for hook in HOOKS.values():
        for arguments in ("ruff check", "ruff format --check", "--external-sources"):
            if arguments in hook["entry"]:
                assert any(arguments in check for check in checks)


def test_each_distribution_is_checked_in_both() -> None:
    """A new distribution is easily forgotten in one of them."""
    entry = HOOKS["lint-imports"]["entry"]
    (sources,) = set(re.findall(r"PYTHONPATH=(\S+)", LINT))
    assert f"PYTHONPATH={sources} " in entry
    of_lint = set(re.findall(r"^check env -C (\w+) deptry \.$", LINT, re.MULTILINE))
    assert set(re.findall(r"cd (\w+) &&", HOOKS["deptry"]["entry"])) == of_lint
    assert of_lint == {file.parent.name for file in ROOT.glob("*/pyproject.toml")}


def test_each_generated_file_is_checked_when_it_is_committed() -> None:
    files = re.compile(HOOKS["generated-files"]["files"])
    assert [name for name in generated_files() if not files.search(name)] == []


def test_pre_commit_accepts_the_configuration() -> None:
    subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config", ROOT / ".pre-commit-config.yaml"],
        check=True,
        timeout=60,
    )


def test_only_one_file_imports_pytest_kind() -> None:
    importing = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("*.py")
        if re.search(r"^\s*(import|from) pytest_kind", path.read_text(encoding="utf-8"), re.M)
    ]
    assert importing == ["tests/e2e/conftest.py"]
