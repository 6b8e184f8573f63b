"""Describes an input: builds the probe steps and parses what they print.

May import ``step``, and nothing else of the package.
"""
