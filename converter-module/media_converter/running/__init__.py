"""Runs a step, reports its progress, explains its failure and verifies its output.

May import ``planning``, ``probing``, ``files`` and everything that these may import.
"""
