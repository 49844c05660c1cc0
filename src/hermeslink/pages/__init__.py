"""The pages that Link serves to a browser."""
