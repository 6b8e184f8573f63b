"""Converts one media file: probe, plan, run, verify, report.

Standard library only, so that the process starts fast and the image carries no package it does not
need. The operator imports :mod:`media_converter.contract` and :mod:`media_converter.options`, never
the other way round.
"""
