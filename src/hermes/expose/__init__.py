"""Publishing a server of this machine: through Tailscale, cloudflared, or any tunnel's own command.

Both apps use it: `hermes expose` for the API server, `hermeslink expose` for Link (spec: link-api, section 6). What was
published is kept in `run/expose.json` of the home, which the doors of the servers read (`published.py`).
"""
