"""All that goes out: requests to the API server, where ``kubernetes`` is used alone; callbacks."""
