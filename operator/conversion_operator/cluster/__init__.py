"""All that goes out: requests to the API server, and callbacks. The only importer of ``kubernetes``."""
