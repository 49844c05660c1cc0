"""The `hermes` command: one file a command group, imported when it is called."""
