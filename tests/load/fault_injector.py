"""Injects random faults into a cluster, reproducibly from a seed."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from conversion_operator.api import names
from tests.e2e.support.commands import Kubectl, Result, run
from tests.e2e.support.operator import NAME, PROCESS
from tests.e2e.support.operator import NAMESPACE as OPERATOR_NAMESPACE
from tests.e2e.support.watches import live
from tests.load.media import LONG

_OURS: Final = f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"
_OPERATOR: Final = f"app.kubernetes.io/name={NAME}"
_CUT: Final = ("-j", "REJECT", "--reject-with", "tcp-reset")
_SWALLOW: Final = ("-j", "DROP")
_MOST: Final = {"pause a node": 2, "kill the API server": 2}
_PAUSE: Final = (0.3, 0.7)
"""Nodes are paused in this part of the run, because conversions run on them then."""


@dataclass(frozen=True, slots=True)
class Repair:
    """How and when to end a fault, by the monotonic clock. ``node`` is the paused node."""

    at: float
    command: tuple[str, ...]
    node: str = ""


@dataclass
class FaultInjector:
    """Chooses faults and injects them. ``done`` counts those that had an effect, by kind."""

    kubectl: Kubectl
    cluster: str
    dice: random.Random
    done: Counter[str] = field(default_factory=Counter)
    cancelled: set[str] = field(default_factory=set)
    last: float = 0.0
    """When the last fault started or ended, by the monotonic clock."""
    _repairs: list[Repair] = field(default_factory=list)

    def strike(self, share: float) -> str:
        """Inject one fault, and return its name; "" if it had no effect.

        ``share`` is the part of the run that is over, from 0 to 1.
        """
        kinds: dict[str, tuple[int, Callable[[], bool]]] = {
            "delete the operator's pod": (4, lambda: self._delete_operator(force=False)),
            "delete the operator's pod at once": (4, lambda: self._delete_operator(force=True)),
            "kill the operator's process": (5, self._kill_process),
            "delete a converter pod": (12, lambda: self._delete_pod(force=False)),
            "delete a converter pod at once": (8, lambda: self._delete_pod(force=True)),
            "delete a Job": (12, self._delete_job),
            "reset the operator's connections": (7, lambda: self._block(_CUT, 1, 5)),
            "swallow the operator's packets": (6, lambda: self._block(_SWALLOW, 10, 40)),
            "kill the API server": (3, self._kill_api),
            "pause a node": (4 if _PAUSE[0] < share < _PAUSE[1] else 0, self._pause),
            "cancel a conversion": (6, self._cancel),
        }
        possible = {k: v for k, v in kinds.items() if self.done[k] < _MOST.get(k, 10**9)}
        weights = [weight for weight, _ in possible.values()]
        (kind,) = self.dice.choices(list(possible), weights)
        if not possible[kind][1]():
            return ""
        self.done[kind] += 1
        self.last = time.monotonic()
        return kind

    def repair(self, *, all_of_them: bool = False) -> None:
        """End the faults that are due."""
        now = time.monotonic()
        for fault in [r for r in self._repairs if all_of_them or r.at <= now]:
            run(*fault.command, limit=30)
            self._repairs.remove(fault)
            self.last = time.monotonic()

    def _paused(self) -> set[str]:
        return {repair.node for repair in self._repairs}

    def _items(self, *arguments: str) -> list[Any]:
        """Objects in the order of their names; none while the API server is unavailable."""
        try:
            return list(self.kubectl.get(*arguments, "--request-timeout=5s")["items"])
        except Exception:  # an unavailable API server causes many kinds of errors
            return []

    def _worked(self, done: Result) -> bool:
        return done.code == 0

    def _operator(self) -> Any | None:
        """The operator's pod; None if there is none or its node is paused."""
        pods = self._items("-n", OPERATOR_NAMESPACE, "pods", "-l", _OPERATOR)
        there = [
            pod
            for pod in pods
            if "deletionTimestamp" not in pod["metadata"]
            and pod["spec"].get("nodeName", "") not in self._paused() | {""}
        ]
        return self.dice.choice(there) if there else None

    def _delete(self, namespace: str, kind: str, name: str, *, force: bool) -> bool:
        how = ("--force", "--grace-period=0") if force else ()
        return self._worked(
            self.kubectl.attempt(
                *("-n", namespace, "delete", kind, name, "--wait=false", *how),
                "--request-timeout=10s",
            )
        )

    def _delete_operator(self, *, force: bool) -> bool:
        pod = self._operator()
        if pod is None:
            return False
        return self._delete(OPERATOR_NAMESPACE, "pod", pod["metadata"]["name"], force=force)

    def _kill_process(self) -> bool:
        pod = self._operator()
        if pod is None:
            return False
        node = pod["spec"]["nodeName"]
        return self._worked(run("docker", "exec", node, "pkill", "-KILL", "-f", PROCESS))

    def _victim(self) -> Any | None:
        """A live converter pod. Mostly a long one, because short ones end before the fault."""
        pods = [pod for pod in self._items("-A", "pods", "-l", _OURS) if live(pod)]
        long = [
            pod
            for pod in pods
            if pod["metadata"]["annotations"][names.CONVERSION_ANNOTATION].startswith(LONG)
        ]
        if long and self.dice.random() < 0.7:
            return self.dice.choice(long)
        return self.dice.choice(pods) if pods else None

    def _delete_pod(self, *, force: bool) -> bool:
        pod = self._victim()
        if pod is None:
            return False
        meta = pod["metadata"]
        return self._delete(meta["namespace"], "pod", meta["name"], force=force)

    def _delete_job(self) -> bool:
        pod = self._victim()
        if pod is None:
            return False
        job = pod["metadata"]["labels"].get("batch.kubernetes.io/job-name")
        namespace = pod["metadata"]["namespace"]
        return job is not None and self._delete(namespace, "job", job, force=False)

    def _block(self, how: tuple[str, ...], shortest: float, longest: float) -> bool:
        """Block the operator's packets to the API server for a while."""
        pod = self._operator()
        address = (pod or {}).get("status", {}).get("podIP")
        if pod is None or not address:
            return False
        node = pod["spec"]["nodeName"]
        rule = ("FORWARD", "-s", address, "-p", "tcp", "--dport", "6443", *how)
        table = ("docker", "exec", node, "iptables", "-w")
        if not self._worked(run(*table, "-I", *rule)):
            return False
        until = time.monotonic() + self.dice.uniform(shortest, longest)
        self._repairs.append(Repair(until, (*table, "-D", *rule)))
        return True

    def _kill_api(self) -> bool:
        # A graceful stop takes a minute. After SIGKILL it is back within seconds.
        node = f"{self.cluster}-control-plane"
        return self._worked(run("docker", "exec", node, "pkill", "-KILL", "-x", "kube-apiserver"))

    def _pause(self) -> bool:
        """Pause a node, possibly for so long that the cluster considers it lost."""
        if self._repairs:  # ending the other faults needs a node that answers
            return False
        nodes = (f"{self.cluster}-worker", f"{self.cluster}-worker2")
        node = self.dice.choice(nodes)
        if not self._worked(run("docker", "pause", node)):
            return False
        until = time.monotonic() + self.dice.uniform(15, 100)
        self._repairs.append(Repair(until, ("docker", "unpause", node), node))
        return True

    def _cancel(self) -> bool:
        there = [
            item["metadata"]
            for item in self._items("-A", "convjob")
            if item.get("status", {}).get("phase") in (None, "Queued", "Starting", "Running")
        ]
        if not there or len(self.cancelled) >= 20:
            return False
        chosen = self.dice.choice(there)
        namespace, name = chosen["namespace"], chosen["name"]
        # The request may be carried out even if it fails here.
        self.cancelled.add(name)
        return self._worked(
            self.kubectl.attempt(
                *("-n", namespace, "patch", "convjob", name, "--type=merge"),
                *("-p", '{"spec":{"cancel":true}}', "--request-timeout=10s"),
            )
        )
