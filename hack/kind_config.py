"""Prints the kind configuration of one cluster: kind-config.yaml, then what differs."""

from __future__ import annotations

import argparse
import copy
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
AUDIT_POLICY = "/etc/kubernetes/audit/policy.yaml"
AUDIT_LOG = "/var/log/kubernetes/audit.log"

# A JSON patch: extraArgs is a list since kubeadm's v1beta4, and kind has entries of its own in it.
AUDIT_PATCH = f"""\
- op: add
  path: /apiServer/extraArgs/-
  value: {{name: audit-policy-file, value: {AUDIT_POLICY}}}
- op: add
  path: /apiServer/extraArgs/-
  value: {{name: audit-log-path, value: {AUDIT_LOG}}}
- op: add
  path: /apiServer/extraVolumes
  value:
    - {{name: audit-policy, hostPath: {Path(AUDIT_POLICY).parent}, \
mountPath: {Path(AUDIT_POLICY).parent}, readOnly: true, pathType: Directory}}
    - {{name: audit-log, hostPath: {Path(AUDIT_LOG).parent}, \
mountPath: {Path(AUDIT_LOG).parent}, pathType: DirectoryOrCreate}}
"""

# By default, the controller manager sends 20 requests a second. That is less than 3 Jobs.
FAST_PATCH = """\
- op: add
  path: /apiServer/extraArgs/-
  value: {name: max-requests-inflight, value: "2000"}
- op: add
  path: /apiServer/extraArgs/-
  value: {name: max-mutating-requests-inflight, value: "1000"}
- op: add
  path: /controllerManager/extraArgs/-
  value: {name: kube-api-qps, value: "1000"}
- op: add
  path: /controllerManager/extraArgs/-
  value: {name: kube-api-burst, value: "2000"}
- op: add
  path: /controllerManager/extraArgs/-
  value: {name: concurrent-job-syncs, value: "20"}
- op: add
  path: /scheduler
  value:
    extraArgs:
      - {name: kube-api-qps, value: "1000"}
      - {name: kube-api-burst, value: "2000"}
"""


def cluster_config(
    base: dict[str, Any],
    name: str,
    volume: Path,
    workers: int,
    *,
    audit: bool = False,
    fast: bool = False,
) -> dict[str, Any]:
    """The configuration `base` for a cluster `name` whose nodes mount the host folder `volume`.

    With `audit`, the API server writes AUDIT_LOG on its node, according to hack/audit-policy.yaml.
    With `fast`, the control plane may send and serve as many requests as the machine can process.
    """
    config = copy.deepcopy(base)
    config["name"] = name
    (control_plane,) = config["nodes"]
    for mount in control_plane["extraMounts"]:
        mount["hostPath"] = str(volume)
    config["nodes"] += [
        {"role": "worker", "extraMounts": control_plane["extraMounts"]} for _ in range(workers)
    ]
    if audit:
        control_plane["extraMounts"] = [
            *control_plane["extraMounts"],
            {
                "hostPath": str(ROOT / "hack" / "audit-policy.yaml"),
                "containerPath": AUDIT_POLICY,
                "readOnly": True,
            },
        ]
    patches = [patch for patch, wanted in ((AUDIT_PATCH, audit), (FAST_PATCH, fast)) if wanted]
    if patches:
        config["kubeadmConfigPatchesJSON6902"] = [
            {
                "group": "kubeadm.k8s.io",
                "version": "v1beta4",
                "kind": "ClusterConfiguration",
                "patch": patch,
            }
            for patch in patches
        ]
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("volume", type=Path, help="the host folder that every node mounts")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--audit", action="store_true")
    parser.add_argument("--fast", action="store_true")
    args = parser.parse_args()
    base = yaml.safe_load((ROOT / "kind-config.yaml").read_text(encoding="utf-8"))
    volume = args.volume.resolve()
    config = cluster_config(base, args.name, volume, args.workers, audit=args.audit, fast=args.fast)
    yaml.safe_dump(config, sys.stdout, sort_keys=False)


if __name__ == "__main__":
    main()
