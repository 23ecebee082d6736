"""A signed text taken apart, verified, made: RFC 7515 to 7519 and 7638. Pure: no I/O, no clock, no OAuth."""
