"""What the pages for administrators name exists, and what needs no cluster is run.

They are docs/install.md, operations.md, gitops.md, monitoring.md and alerts.md.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from markdown_it import MarkdownIt

from conversion_operator.api.reasons import render_reasons
from conversion_operator.controller.settings import Settings
from converter_gateway.settings import GatewaySettings
from tests.e2e.support.readme import command_blocks, commands_in_text
from tests.unit.deploy.charts import CHART, chart_objects, helm, run_helm
from tests.unit.deploy.rendering import ROOT, of_kind, render, samples

NAMES = ("install", "operations", "gitops", "monitoring", "alerts")
PAGES = {name: (ROOT / f"docs/{name}.md").read_text("utf-8") for name in NAMES}
IMAGES = ("my-converter-operator", "my-converter-gateway", "my-converter")
RELEASE = {
    *(f"dist/{image}-0.2.0.{end}" for image in IMAGES for end in ("tar", "cdx.json")),
    *("dist/SHA256SUMS", "dist/install.yaml", "dist/my-network-converter-0.2.0.tgz"),
}
NEXT_RELEASE = "dist/my-network-converter-0.3.0.tgz"
"""The chart that docs/operations.md upgrades to, and rolls back from."""
# tests/faults/test_page_tools.py runs the commands of the first two, and test_release.py the last.
NOT_CHECKED = ("cosign", "velero", "cp", "cd", "sha256sum")
LINES = re.MULTILINE | re.DOTALL
NAMESPACES = {
    *("my-network", "my-network-converter", "team-b", "converter-b", "website"),
    *("flux-system", "monitoring"),
}


class Command(NamedTuple):
    """A command of a page, with its here-document and the values file that the page shows."""

    page: str
    line: int
    words: tuple[str, ...]
    body: str
    values: str

    def __str__(self) -> str:
        return f"{self.page} line {self.line}: {' '.join(self.words)[:60]}"


def values_blocks(page: str) -> list[tuple[int, str]]:
    return [
        (token.map[0], token.content)
        for token in MarkdownIt().parse(page)
        if token.map and token.info == "yaml" and token.content.startswith("# values.yaml\n")
    ]


def commands() -> Iterator[Command]:
    for name, page in PAGES.items():
        for block in command_blocks(page):
            shown = [text for line, text in values_blocks(page) if line < block.line]
            for line, body in re.findall(r"^(.+?)(?: <<'EOF'\n(.*?)^EOF)?$", block.script, LINES):
                for part in line.split("&&"):
                    words = tuple(shlex.split(part.split(" > ")[0]))
                    yield Command(name, block.line, words, body, shown[-1] if shown else "")


COMMANDS = list(commands())


def of(*programs: str) -> list[Command]:
    return [command for command in COMMANDS if command.words[0] in programs]


@cache
def help_of(program: str, *subcommands: str) -> str:
    paths = {"docker": "docker", "helm": helm()}
    path = paths.get(program, str(ROOT / ".tools/bin" / program))
    return printed(path, *subcommands, "--help")


@cache
def options_of_kubectl() -> str:
    return printed(str(ROOT / ".tools/bin/kubectl"), "options")


def printed(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def positional(words: tuple[str, ...]) -> list[str]:
    """The words that are not flags. The value of a short flag belongs to the flag."""
    found, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif re.fullmatch(r"-[a-zA-Z]", word):
            skip = True
        elif not word.startswith("-"):
            found.append(word)
    return found


def test_the_pages_use_no_program_that_no_test_knows() -> None:
    used = {command.words[0] for command in COMMANDS}
    assert used == {"docker", "helm", "kind", "kubectl", "make", *NOT_CHECKED}
    assert len(COMMANDS) > 50
    assert len([command for command in COMMANDS if command.body]) == 3


@pytest.mark.parametrize("command", of("make"), ids=str)
def test_targets_exist(command: Command) -> None:
    subprocess.run(
        ["make", "--dry-run", *command.words[1:]],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=60,
    )


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_paths_exist(command: Command) -> None:
    for word in command.words:
        if word.startswith("dist/"):
            assert word in RELEASE | {NEXT_RELEASE, "dist/SHA256SUMS.sigstore.json"}
        elif re.match(r"(deploy|crds|charts)/", word):
            assert (ROOT / word).exists(), word
        elif word in ("-f", "-k", "--filename"):
            assert command.words[-1] != word


def test_a_rollback_installs_another_chart_than_the_upgrade_before_it() -> None:
    charts = [
        command.words[3]
        for command in of("helm")
        if command.page == "operations" and command.words[1] == "upgrade"
    ]
    assert charts == [NEXT_RELEASE, "dist/my-network-converter-0.2.0.tgz"]


def test_the_table_of_a_release_has_its_files() -> None:
    named = set(re.findall(r"^\| `([^`]+)` \|", PAGES["install"], re.MULTILINE))
    files = {file.removeprefix("dist/") for file in RELEASE if "cdx" not in file}
    assert files | {"my-converter-operator-0.2.0.cdx.json"} <= named


@pytest.mark.parametrize("command", of("docker", "helm", "kubectl", "kind"), ids=str)
def test_subcommands_and_flags_exist(command: Command) -> None:
    program, *rest = positional(command.words)
    if (program, rest[0]) == ("kubectl", "conversion"):
        return  # the plugin: tests/component/test_plugin.py runs its verbs
    # The longest prefix that has its own help: a subcommand, if there is one.
    known = help_of(program, rest[0])
    assert f"{program} {rest[0]}" in known, f"there is no {rest[0]}"
    if (program, rest[0]) in GROUPS:
        depth = GROUPS[program, rest[0]] + (rest[1] == "secret")
        known += help_of(program, *rest[:depth])
    if program == "kubectl":
        known += options_of_kubectl()
    own = command.words[: command.words.index("--")] if "--" in command.words else command.words
    for word in own:
        if re.match(r"--?[a-zA-Z]", word):
            flag = word.split("=")[0]
            assert re.search(rf"(^|\s){re.escape(flag)}\b", known), flag


GROUPS = {
    ("kubectl", "create"): 2,
    ("kubectl", "rollout"): 2,
    ("kubectl", "auth"): 2,
    ("helm", "show"): 2,
    ("kind", "load"): 2,
}


def objects() -> list[dict[str, Any]]:
    """What an installation has, what the samples create, and what the pages themselves apply."""
    applied = [yaml.safe_load(command.body) for command in COMMANDS if command.body]
    return [
        *render("storage-class"),
        *chart_objects("my-network-converter", {}),
        *samples(),
        *applied,
    ]


TYPES = {
    "convjob": "ConversionJob",
    "configmap": "ConfigMap",
    "deployment": "Deployment",
    "persistentvolumeclaim": "PersistentVolumeClaim",
    "pod": "Pod",
    "clusterrole": "ClusterRole",
    "crd": "CustomResourceDefinition",
}


@pytest.mark.parametrize("command", of("kubectl"), ids=str)
def test_objects_exist(command: Command) -> None:
    words = " ".join(command.words)
    for kind, name in re.findall(r"\b([a-z]+)(?:/|=| )([a-z0-9][a-z0-9-]*)\b", words):
        if kind in TYPES and "." not in name:
            names = {item["metadata"]["name"] for item in of_kind(objects(), TYPES[kind])}
            assert name in names, f"there is no {kind} {name}"
    for namespace in re.findall(r"(?:-n|--namespace|namespace) ([a-z-]+)", words):
        assert namespace in NAMESPACES


# tests/component/test_gitops.py applies the part of a ConversionJob that gitops.md has.
@pytest.mark.parametrize(
    "command", [c for c in of("kubectl") if c.body and c.page != "gitops"], ids=str
)
def test_what_the_pages_apply_fits_the_settings(command: Command) -> None:
    body = yaml.safe_load(command.body)
    fields = Settings.model_fields
    claim = fields["shared_volume_claim"].default
    if body["kind"] == "PersistentVolumeClaim":
        (own,) = of_kind(render("storage-class"), "PersistentVolumeClaim")
        assert body["metadata"] == {"name": claim, "namespace": own["metadata"]["namespace"]}
        assert body["spec"] == own["spec"]
        return
    pod = body["spec"]
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim
    user = {"runAsUser": "converter_run_as_user", "runAsGroup": "converter_run_as_group"}
    for name, setting in user.items():
        assert pod["securityContext"][name] == fields[setting].default
    # Pod Security `restricted`.
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    own = container["securityContext"]
    assert own == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@pytest.mark.parametrize(
    "command", [c for c in of("helm") if c.words[1] in ("install", "upgrade")], ids=str
)
def test_the_chart_accepts_the_values_of_the_page(command: Command, tmp_path: Any) -> None:
    (tmp_path / "values.yaml").write_text(command.values, encoding="utf-8")
    mapped = [
        str(CHART)
        if word.endswith(".tgz")
        else str(tmp_path / word)
        if word == "values.yaml"
        else word
        for word in command.words[2:]
        if word not in ("--wait", "--take-ownership")
    ]
    done = run_helm("template", *mapped)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("page", "text"),
    [(name, text) for name, page in PAGES.items() for _, text in values_blocks(page)],
)
def test_each_values_file_is_accepted(page: str, text: str) -> None:
    assert chart_objects("my-network-converter", yaml.safe_load(text)), page


def test_the_values_of_the_table_exist() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    table = PAGES["install"].partition("| Value | What it does |")[2].partition("\n\n")[0]
    named = [name for row in table.splitlines()[2:] for name in _names(row.split("|")[1])]
    assert len(named) > 10
    for name in named:
        found: Any = values
        for part in name.removesuffix(".CONVERTER_POD_SETTINGS").split("."):
            assert part in found, name
            found = found[part]


def _names(cell: str) -> list[str]:
    return re.findall(r"`([\w.]+)`", cell)


@pytest.mark.parametrize("page", PAGES)
def test_settings_and_reasons_exist(page: str) -> None:
    settings = {name.upper() for name in (*Settings.model_fields, *GatewaySettings.model_fields)}
    for code in commands_in_text(PAGES[page]):
        for name in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", code):
            assert name in settings
    reasons = set(re.findall(r"^\| `(\w+)` \|", render_reasons(), re.MULTILINE))
    named = re.findall(
        r"(?:reason|waits as|fails with|\bas)\s+([A-Z][a-z]+[A-Z]\w+|Restored)", PAGES[page]
    )
    assert named or page in ("gitops", "monitoring", "alerts")
    assert set(named) <= reasons


def test_links_lead_to_pages() -> None:
    for page in PAGES.values():
        for target in re.findall(r"\]\(([^)#]+)", page):
            assert target.startswith("https://") or (ROOT / "docs" / target).exists(), target


def block_of(page: str, title: str) -> Any:
    """The YAML of the one block of a page that begins with this comment."""
    (found,) = (
        token.content
        for token in MarkdownIt().parse(PAGES[page])
        if token.info == "yaml" and token.content.startswith(f"# {title}\n")
    )
    return yaml.safe_load(found)


def overlay_with(folder: Path, change: Callable[[list[Any]], None]) -> tuple[dict[str, Any], ...]:
    """The objects of the overlay for storage classes after a change of its patches."""
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("samples"))
    # A copy beside the original, as docs/install.md says.
    overlays = folder / "deploy/overlays"
    shutil.copytree(overlays / "storage-class", overlays / "mine")
    shutil.rmtree(overlays / "storage-class")
    path = overlays / "mine/kustomization.yaml"
    body = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(body["patches"])
    path.write_text(yaml.safe_dump(body), encoding="utf-8")
    return render(str(overlays / "mine"))


def test_the_patch_for_the_secret_of_a_registry_reaches_the_pods(tmp_path: Path) -> None:
    patches = block_of("install", "kustomization.yaml")["patches"]
    deployments = of_kind(overlay_with(tmp_path, lambda old: old.extend(patches)), "Deployment")
    assert len(deployments) == 2
    for deployment in deployments:
        assert deployment["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]


def test_the_settings_for_the_secret_of_a_registry_are_valid() -> None:
    data = block_of("install", "settings.yaml")["data"]
    read = Settings(converter_pod_settings=data["CONVERTER_POD_SETTINGS"])
    assert "registry" in repr(read.converter_pod_settings)


def test_the_third_patch_can_leave_out_the_claim(tmp_path: Path) -> None:
    def leave_out(patches: list[Any]) -> None:
        claim = yaml.safe_load(patches[2]["patch"])
        del claim["spec"]
        patches[2]["patch"] = yaml.safe_dump(claim | {"$patch": "delete"})

    assert of_kind(overlay_with(tmp_path, leave_out), "PersistentVolumeClaim") == []
