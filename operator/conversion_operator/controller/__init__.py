"""The running controller: store, work queue, admitter, workers, leadership, probes and settings.

May import ``api``, ``core`` and ``cluster``. Only ``handlers`` may import ``kopf``. Nothing here
imports ``callbacks``.
"""
