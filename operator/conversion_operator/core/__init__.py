"""Pure decisions on plain values. No I/O, no clock of its own, no kubernetes, no kopf."""
