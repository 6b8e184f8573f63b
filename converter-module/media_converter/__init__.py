"""Converts one media file: probe, plan, run, verify, report.

Imports the standard library only, so that the process starts fast and the image stays small. The
operator imports :mod:`media_converter.contract`; this package imports nothing of the operator.
"""
