"""The Nu HTML checker over the pages' own text, as the service sent it."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.programs import clean_environ, needs

_PACKAGE = Path(__file__).parent / "html_checker"


def checked(sources: Mapping[str, str], folder: Path) -> list[str]:
    """What the checker calls an error, each with its page. The checker comes by npm and is kept nowhere."""
    java, npm = needs("java"), needs("npm")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_PACKAGE / name, folder)
    words = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run([npm, *words], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    files = []
    for name, text in sources.items():
        files.append(folder / f"{name}.html")
        files[-1].write_text(text)
    jar = folder / "node_modules" / "vnu-jar" / "build" / "dist" / "vnu.jar"
    told = subprocess.run(
        [java, "-jar", str(jar), "--format", "json", "--stdout", *map(str, files)],
        capture_output=True,
        text=True,
        timeout=120,
        env=clean_environ(),
    )
    messages = json.loads(told.stdout)["messages"]
    return [
        f"{Path(one['url']).stem}: {one['message']} {one.get('extract', '').strip()}"
        for one in messages
        if one["type"] == "error"
    ]
