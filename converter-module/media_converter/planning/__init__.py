"""Decides which command converts an input and what its output must be. Does no I/O.

May import ``probing``, ``limits``, ``step``, ``options``, ``errors`` and ``contract``.
"""
