"""The service on https, people who sign in at it, and the npm packages of relying parties."""

import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.embedded import Servers
from tests.builders import House
from tests.pages.conftest import chromium  # noqa: F401 - the browser of the pages' tests
from tests.programs import clean_environ, needs
from tests.relying_parties.person import Person
from tests.secure import Authority, authority, secure, secure_environ

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Provider:
    """A running service, and the house that looks into its database."""

    issuer: str
    trusted: Authority
    house: House

    async def a_person(self) -> Person:
        """Somebody with a password and an authenticator app."""
        return Person.of(await self.house.a_person().with_totp(), self.issuer, self.trusted)


@pytest.fixture(scope="session")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def provider(
    servers: Servers, database_url: str, house: House, trusted: Authority
) -> AsyncIterator[Provider]:
    with secure(secure_environ(servers, database_url, trusted), trusted) as issuer:
        yield Provider(issuer, trusted, house)


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the npm packages of the lock file, installed once in a run; no script of theirs runs."""
    npm, folder = needs("npm"), tmp_path_factory.mktemp("packages")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    words = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run([npm, *words], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def node_environ(trusted: Authority) -> dict[str, str]:
    """What a program of Node needs to trust the service; Node 18, which Debian 12 has, hides its Web
    Cryptography behind an option, which later ones still take."""
    options = "--experimental-global-webcrypto"
    return clean_environ() | {"NODE_EXTRA_CA_CERTS": str(trusted.root), "NODE_OPTIONS": options}
