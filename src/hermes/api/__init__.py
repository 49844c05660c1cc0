"""How things are reached over HTTP. A handler parses, asks, and answers; the rules live below."""
