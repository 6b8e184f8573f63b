"""Opens and writes files on the shared volume, and parses the structure of files.

May import ``errors`` and ``contract``.
"""
