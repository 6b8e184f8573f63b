"""The file server: serves files of one volume to the HTTP API, which signs each request.

One runs in each namespace of conversions, because a claim can be mounted only there. It has no
Kubernetes token, and imports nothing of the HTTP API but :mod:`converter_gateway.file_signature`.
"""
