"""Which language model answers, and how it is spoken to. Nothing is imported here: providers cost time and memory."""
