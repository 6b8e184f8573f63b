"""Faults of nodes, operators and connections on a cluster of two workers (`make faults`)."""
