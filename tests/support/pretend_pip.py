"""An interpreter whose pip says what a test wants: a script in the place of an installer, for who only asks it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from hermes.home.updates.installation import Installation, Kind


def pretend_pip(place: Path, *versions: str, notes: str = "") -> Installation:
    """`versions`: what its index has, the newest first. It keeps its calls for `calls_of`, and its environment."""
    place.mkdir(exist_ok=True)
    for version in (*versions, "newest"):
        shown = versions[0] if version == "newest" and versions else version
        metadata = {"name": "hermes-server", "version": shown, "project_url": [f"Changelog, {notes}"]}
        (place / f"{version}.json").write_text(json.dumps({"install": [{"metadata": metadata}]}))
    script = place / "python"
    folder = shlex.quote(str(place))
    script.write_text(
        f"""#!/bin/sh
for last; do :; done
echo "$@" >> {folder}/calls
/usr/bin/env > {folder}/environment
case "$last" in
  hermes-server==*) file={folder}/"${{last#hermes-server==}}.json" ;;
  *) file={folder}/newest.json ;;
esac
[ -f {folder}/offline ] && {{ echo "ERROR: no network https://me:secret@index.example" >&2; exit 1; }}
[ -f "$file" ] || {{ echo "ERROR: No matching distribution found for $last" >&2; exit 1; }}
/bin/cat "$file"
"""
    )
    script.chmod(0o700)
    return Installation(Kind.PIP, str(script))


def calls_of(installation: Installation) -> list[str]:
    calls = Path(installation.python).parent / "calls"
    return calls.read_text().splitlines() if calls.exists() else []
