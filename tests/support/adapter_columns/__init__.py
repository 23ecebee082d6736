"""A module for each adapter: its columns in the table of requests (see `request_table.Column`)."""
