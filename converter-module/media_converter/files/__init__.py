"""Opens and writes files on the shared volume, and reads the structure of files without a tool.

May import ``errors`` and ``contract``.
"""
