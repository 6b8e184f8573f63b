"""Callbacks: HTTP requests that report the end of a conversion.

``policy`` decides, ``message`` builds and signs, ``sender`` sends, and ``loop`` connects them. May
import ``api``, ``core`` and ``cluster``. ``policy`` does no I/O, only ``sender`` may import
``aiohttp``, and only ``loop`` may import ``controller``.
"""
