"""The events that telemetry and audit receive. Without an observer they cost one attribute test."""
