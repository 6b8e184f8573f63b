"""The HTTP API: ConversionJobs for callers that speak JSON over HTTP."""
