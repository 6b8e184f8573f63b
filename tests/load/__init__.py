"""Load and chaos on a cluster of its own: long runs that `make test` does not include."""
