"""Describes media files and images: builds the probe steps and parses their output.

May import ``step`` only.
"""
