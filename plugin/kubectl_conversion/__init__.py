"""The kubectl plugin ``kubectl conversion``.

It runs kubectl for every request, so it uses the context, the namespace and the credentials of the
caller. Pure functions on frozen values decide what to show; :mod:`kubectl_conversion.commands` and
:mod:`kubectl_conversion.kubectl` do the I/O.
"""
