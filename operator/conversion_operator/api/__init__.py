"""The public API: the ConversionJob, its status, its reasons, and the CRD generated from them.

No I/O. May import only ``contract`` and ``options`` of :mod:`media_converter`.
"""
