"""`hermeslink`: one file a command group."""
