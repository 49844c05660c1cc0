"""`python -m hermeslink` is the `hermeslink` command."""

from hermeslink.cli.main import main

if __name__ == "__main__":
    main()
