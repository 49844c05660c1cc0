"""This server as an MCP server: its sessions, turns and approvals as tools of other agents (`hermes mcp serve`)."""
