"""Pure rules: bytes and values in, values or a rejection out. No I/O, no clock, no locks, no framework."""
