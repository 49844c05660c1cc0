"""The way to the API servers of the profiles, by their public interface."""
