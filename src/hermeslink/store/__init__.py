"""How things are kept in link.db. The only SQL of Link."""
