"""The process: `serve` runs it, `background` starts and stops it as one of its own, `service` hands it to systemd."""
