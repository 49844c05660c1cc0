"""The figures of docs/performance.md: `python -m bench` or `make bench`. Nothing here is imported by the server."""
