"""What all adapters share. No framework."""
