"""Callbacks: HTTP requests that report the end of a conversion.

``policy`` decides, ``message`` builds and signs, ``sender`` sends, and ``loop`` connects them. May
import ``api``, ``core`` and ``cluster``. ``sender`` may also import ``aiohttp``, and ``loop`` may
also import ``controller``. ``policy`` does no I/O.
"""
