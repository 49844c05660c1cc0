"""Looks into the wheel and the sdist that `make build` made: does every file of src come with them?

The build leaves out what .gitignore names, silently. A migration or a text file that is missing shows only
on the machine of whoever installs the package, so it is looked for here.
"""

import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"


def source_files() -> set[str]:
    """The files below src that make the package, as paths relative to src."""
    return {"run_agent.py"} | {
        path.relative_to(SOURCE).as_posix()
        for package in ("hermes", "hermeslink")
        for path in (SOURCE / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }


def missing_from_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return source_files() - set(archive.namelist())


def missing_from_sdist(sdist: Path) -> set[str]:
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/src/")[2] for name in archive.getnames()}
    return source_files() - inside


def only(dist: Path, pattern: str) -> Path:
    found = list(dist.glob(pattern))
    if len(found) != 1:
        sys.exit(f"{dist} should hold one {pattern}, and holds {len(found)}")
    return found[0]


def main(dist: Path) -> None:
    wheel, sdist = only(dist, "*.whl"), only(dist, "*.tar.gz")
    for archive, missing in ((wheel, missing_from_wheel(wheel)), (sdist, missing_from_sdist(sdist))):
        if missing:
            sys.exit(f"{archive.name} lacks {', '.join(sorted(missing))}")
        print(f"{archive.name}: {archive.stat().st_size // 1024} KB, every file of src is in it")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
