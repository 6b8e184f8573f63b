"""The HTTP API: ConversionJobs for callers that speak JSON over HTTP.

It shares :mod:`conversion_operator.api` and :mod:`conversion_operator.cluster` with the operator,
and may import nothing else of it. ``kubernetes`` and ``kopf`` stay outside.
"""
