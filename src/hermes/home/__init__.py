"""What is on disk in HERMES_HOME: the settings, the keys, the profiles, the locks and the logs."""
