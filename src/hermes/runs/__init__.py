"""Runs and their events: start, follow, approve, steer, stop. What every protocol stands on."""
