"""Faults of nodes, operators and connections, on a cluster with two workers (`make faults`)."""
