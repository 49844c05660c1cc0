"""What runs used, by the day."""
