"""Where commands run: on this machine, in a sandbox of it, in a container, on another machine (docs/adr/0112)."""
