"""Who may come in: codes, tokens, devices."""
