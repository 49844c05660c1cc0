"""Programs of ours that start with the machine, or when their user logs in: files that the system reads."""
