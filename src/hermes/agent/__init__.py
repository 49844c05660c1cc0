"""One turn: instructions and history → model ↔ tools → events. No database, no HTTP."""
