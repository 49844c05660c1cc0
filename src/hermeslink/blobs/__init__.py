"""What people attach: its bytes, what it is, and how it reaches the agent."""
