"""Tools of other programs: MCP servers, each a toolset `mcp-NAME`. The package `mcp` is imported on first use."""
