"""What the platform that runs this process gives to it, in files."""
