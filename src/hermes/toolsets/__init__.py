"""What the agent can do: tools in toolsets. `registry.build_registry` makes all of them."""
