"""How things are kept: the only SQL. Repository functions are plain `fn(conn, …)`; `database` runs them."""
