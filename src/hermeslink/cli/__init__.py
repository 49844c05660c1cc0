"""The command `hermeslink`."""
