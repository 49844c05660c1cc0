"""Link as a process: in the foreground, in the background, and how it ends."""
