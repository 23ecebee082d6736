"""Who is measured. Each module is loaded in a process of its own."""
