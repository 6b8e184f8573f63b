"""Completion for kubectl: ``kubectl_complete-conversion`` calls this.

The answer is a word per line and the directive that kubectl's shells understand. An error gives no
words: a shell has no place to show it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from kubectl_conversion import data, source
from kubectl_conversion.kubectl import Kubectl, KubectlError
from kubectl_conversion.text import safe

_NO_FILES: Final = ":4"
_VALUES: Final = {
    "--output": ("json", "yaml", "wide", "name"),
    "-o": ("json", "yaml", "wide", "name"),
}
_WITH_NAMES: Final = frozenset({"list", "watch", "describe", "logs", "wait", "cancel", "retry"})
_QUEUE_VERBS: Final = frozenset({"hold", "resume", "limit"})


def complete(words: Sequence[str]) -> None:
    """Print what may follow. The last word is the one that is being typed."""
    from typer.main import get_command

    from kubectl_conversion.cli import build

    for word in answers(get_command(build()), words or [""]):
        # A tab separates a word and its description.
        print("\t".join(safe(part) for part in word.split("\t", 1)))
    print(_NO_FILES)


def answers(command: Any, words: Sequence[str]) -> list[str]:
    """The words that may follow."""
    *before, typed = words
    verbs: list[str] = []
    node = command
    for word in before:
        if word in getattr(node, "commands", {}):
            node = node.commands[word]
            verbs.append(word)
    if before and before[-1] in _VALUES:
        found = list(_VALUES[before[-1]])
    elif before and before[-1] == "--to":
        known = data.load()["types"]
        found = sorted(
            {e for kind in known.values() for e in kind["extensions"]} | set(known) | {"thumbnail"}
        )
    elif typed.startswith("-"):
        found = [name for param in node.params for name in param.opts if name.startswith("--")] + [
            "--help"
        ]
    elif hasattr(node, "commands"):
        found = [f"{name}\t{each.get_short_help_str()}" for name, each in node.commands.items()]
    else:
        found = _names(verbs, before)
    return [word for word in found if word.startswith(typed)]


def _names(verbs: Sequence[str], before: Sequence[str]) -> list[str]:
    """Names of conversions or queues, as kubectl completes names of pods."""
    value = _option_values(before)
    kubectl = Kubectl(value.get("--context", ""), value.get("--kubeconfig", ""))
    try:
        namespace = value.get("--namespace") or value.get("-n") or kubectl.namespace()
        caller = source.Caller(kubectl, namespace)
        if verbs[-1:] and verbs[-1] in _WITH_NAMES and verbs[0] != "queue":
            return [each.name for each in source.conversions(caller)[0]]
        if verbs[-1:] and verbs[-1] in _QUEUE_VERBS:
            operator = value.get("--operator-namespace") or source.operator_namespace(caller)
            return [queue["metadata"]["name"] for queue in source.queues(kubectl, operator)]
    except KubectlError as error:
        print(error.message, file=sys.stderr)
    return []


def _option_values(words: Sequence[str]) -> dict[str, str]:
    values = {}
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, text = word.partition("=")
        if word.startswith("-"):
            values[name] = text if equals else following
    return values
