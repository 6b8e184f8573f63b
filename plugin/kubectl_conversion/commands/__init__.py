"""The verbs. Each function is a command: its parameters are its options."""
