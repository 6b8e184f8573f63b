"""Clients of the Kubernetes API server, and settings from a mounted ConfigMap.

The clients take and return values, never JSON.

May import ``api``, ``core`` and the ``kubernetes`` client. No other package may import
``kubernetes``.
"""
