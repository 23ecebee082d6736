"""`python -m tokenguard.cli`: the same as the command `tokenguard`."""

from tokenguard.cli import main

if __name__ == "__main__":
    main()
