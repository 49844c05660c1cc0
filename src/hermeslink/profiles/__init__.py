"""What a profile is made of, seen and changed in its files: no API server has to run."""
