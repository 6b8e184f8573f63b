"""Runs a step: process, progress, report, reasons of failures, verification of the output.

May import ``planning``, ``probing``, ``files`` and everything they may import.
"""
