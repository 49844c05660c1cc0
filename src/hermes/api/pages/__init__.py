"""What a browser shows: the plain page, /docs, and the document behind it."""
