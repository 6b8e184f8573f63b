"""Callbacks: HTTP requests that report the end of a conversion.

``policy`` decides, ``addresses`` says where a callback may go, ``message`` builds and signs,
``lanes`` says which one is sent next, ``sender`` sends, and ``loop`` connects them. May import
``api``, ``core`` and ``cluster``. ``sender`` may also import ``aiohttp``, and ``loop`` may also
import ``controller``. ``policy``, ``addresses`` and ``lanes`` do no I/O.
"""
