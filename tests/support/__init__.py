"""What tests of different kinds share."""
