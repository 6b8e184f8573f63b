"""Clients of the Kubernetes API server. They take and return values, never JSON.

May import ``api``, ``core`` and the ``kubernetes`` client. No other package may import
``kubernetes``.
"""
