"""Callbacks: which are owed, what they say, how they are sent, and the loop that sends them."""
