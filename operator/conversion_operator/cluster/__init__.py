"""Clients of the Kubernetes API server, and settings from a mounted ConfigMap.

The clients take and return values, never JSON, except for the manifests of Jobs to create.
``bodies`` makes the JSON of some requests. ``page_server`` serves the metrics and the probes.

May import ``api``, ``core`` and ``kubernetes``. No other package may import ``kubernetes``.
"""
