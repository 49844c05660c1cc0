"""Jobs: what runs at a time, by itself. A due job becomes a run like any other."""
