"""The HTTP API: creates and reads ConversionJobs for callers that use HTTP and JSON.

May import :mod:`conversion_operator.api`, :mod:`conversion_operator.cluster` and
``media_converter``. May not import the rest of the operator, ``kubernetes`` or ``kopf``.
"""
