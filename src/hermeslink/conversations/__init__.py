"""Conversations and what happens in them."""
