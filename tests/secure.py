"""`doorward serve` on https with a certificate of a throw-away CA, and portals' addresses on the same."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from service.embedded import Servers
from tests.programs import free_port, serve_environ, serving


@dataclass(frozen=True)
class Authority:
    """A CA of one test run, and a certificate of it for this machine, as PEM files."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        return self.folder / "certificate.pem"

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"


def authority(folder: Path) -> Authority:
    """Make a CA and a certificate for localhost, 127.0.0.1 and names below `.localhost`."""
    made, ca = Authority(folder), trustme.CA()
    leaf = ca.issue_cert("localhost", "portal.localhost", "spa.localhost", "127.0.0.1")
    ca.cert_pem.write_to_path(made.root)
    for blob in leaf.cert_chain_pems:
        blob.write_to_path(made.certificate, append=True)
    leaf.private_key_pem.write_to_path(made.key)
    return made


def secure_environ(
    servers: Servers, database_url: str, trusted: Authority, **settings: str
) -> Mapping[str, str]:
    """What `doorward serve` needs on https://localhost; `settings` are variables without their prefix."""
    port = free_port()
    environ = serve_environ(servers, database_url, port) | {
        "DOORWARD_ISSUER": f"https://localhost:{port}",
        "DOORWARD_TLS_CERTIFICATE": str(trusted.certificate),
        "DOORWARD_TLS_KEY": str(trusted.key),
        "DOORWARD_HASH_DEADLINE_MS": "30000",
    }
    del environ["DOORWARD_DEV"]
    return environ | {f"DOORWARD_{name.upper()}": value for name, value in settings.items()}


@contextmanager
def secure(environ: Mapping[str, str], trusted: Authority) -> Iterator[str]:
    """A running service on https; its issuer."""
    with serving(environ, subprocess.DEVNULL, trust=trusted.root):
        yield environ["DOORWARD_ISSUER"]
