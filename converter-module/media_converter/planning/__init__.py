"""Decides which command converts an input and what its output must be. Pure functions.

May import ``probing``, ``limits``, ``step``, ``options``, ``errors`` and ``contract``.
"""
