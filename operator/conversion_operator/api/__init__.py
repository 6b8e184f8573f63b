"""The public API: the ConversionJob, its status, its reasons, and the CRD generated from them.

No I/O. May import :mod:`media_converter.contract` only.
"""
