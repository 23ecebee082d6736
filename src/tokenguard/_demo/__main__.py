"""`python -m tokenguard._demo`: exit code 0 if every row was as expected, 1 if not."""

import sys

from tokenguard._demo.demonstration import run

if __name__ == "__main__":
    sys.exit(run())
