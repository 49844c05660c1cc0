"""Newer versions: how this program was installed, what the index has, and a process that updates and can go back."""
