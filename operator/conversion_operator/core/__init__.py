"""Decides what to do about conversions: pure functions on frozen values, without I/O or a clock.

It may import ``api``, ``media_converter.contract`` and the standard library only. It does not
import kubernetes or kopf.
"""
