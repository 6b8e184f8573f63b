"""The running operator: kopf handlers, work loops, leadership, probes, metrics and settings."""
