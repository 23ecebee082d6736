"""What telemetry and audit may see. Without an observer, one attribute test."""
