"""What a decision over time may ask for. Plain data; no driver, no I/O."""
