"""The settings, frozen, and the only reader of the environment.

Sources, each over the next: `DOORWARD_*` variables (any of them also as `…_FILE`), the TOML file
named by `DOORWARD_CONFIG`, the defaults below. `[two_factor] required` in the file is
`DOORWARD_TWO_FACTOR_REQUIRED` in the environment. All faults are told at once.
"""

import base64
import difflib
import ipaddress
import os
import re
import ssl
import tomllib
from collections.abc import Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from service.errors import ConfigError
from service.sections import (
    DatabaseSettings,
    HashSettings,
    KeySettings,
    LimitSettings,
    OutgoingSettings,
    PagesSettings,
    RedisSettings,
    Section,
    TokenSettings,
    TwoFactorSettings,
)

PREFIX = "DOORWARD_"
#: Known variables that are not settings: where the others come from.
SOURCES = {
    "DOORWARD_CONFIG": "Names a TOML file of settings, a table for each section; variables win over it.",
    "DOORWARD_DATA": "Names the folder of a running `doorward dev`, on whose servers every command acts; "
    "not for `serve`.",
}
#: The hosts on which `doorward dev` serves.
LOOPBACK = ("127.0.0.1", "localhost")

#: An origin as browsers write it, so that it compares byte for byte.
_ORIGIN = re.compile(r"https?://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?")


def _listed(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Settings(Section):
    issuer: str = Field("", description="The https address people and portals see, without a path.")
    encryption_keys: SecretStr = Field(
        SecretStr(""),
        description="Keys that seal secrets at rest: `id:base64 of 32 bytes`, comma-separated, active first.",
    )
    trusted_proxies: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        (), description="Networks whose X-Forwarded-For is believed, comma-separated."
    )
    place_header: str = Field(
        "", description="Header by which a trusted proxy tells where an address lies, such as CF-IPCountry."
    )
    workers: int = Field(1, ge=1, le=64, description="Worker processes of `doorward serve`.")
    host: str = Field("127.0.0.1", description="The address `doorward serve` listens on.")
    port: int = Field(8400, ge=1, le=65535, description="The port `doorward serve` listens on.")
    tls_certificate: str = Field(
        "",
        description="PEM file of the certificate and its chain; with it `doorward serve` speaks TLS itself.",
    )
    tls_key: str = Field("", description="PEM file of the certificate's private key.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least level logged."
    )
    dev: bool = Field(False, description="Set by `doorward dev`: http on loopback is allowed.")
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    two_factor: TwoFactorSettings = TwoFactorSettings()
    tokens: TokenSettings = TokenSettings()
    limits: LimitSettings = LimitSettings()
    hash: HashSettings = HashSettings()
    keys: KeySettings = KeySettings()
    pages: PagesSettings = PagesSettings()
    outgoing: OutgoingSettings = OutgoingSettings()

    @model_validator(mode="after")
    def _holds(self) -> Self:
        faults = list(self._faults())
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _faults(self) -> Iterator[str]:
        if not self.issuer:
            yield "issuer: missing; set it to the https address of this service"
        elif not _ORIGIN.fullmatch(self.issuer) or (parts := _parsed(self.issuer)) is None:
            yield "issuer: must be scheme://host[:port] alone, in lower case"
        elif self.dev and parts.hostname not in LOOPBACK:
            yield "issuer: `doorward dev` serves on loopback only"
        elif not self.dev and parts.scheme != "https":
            yield "issuer: must be https outside `doorward dev`"
        try:
            beyond = not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            yield "host: must be an IP address, such as 127.0.0.1 or 0.0.0.0"
        else:
            if self.dev and beyond:
                yield "host: `dev` allows plain http and serves on loopback only"
        if bool(self.tls_certificate) != bool(self.tls_key):
            yield "tls_certificate: belongs together with tls_key; set both or neither"
        for name in ("tls_certificate", "tls_key", "outgoing.ca_file"):
            path = attrgetter(name)(self)
            if path and not Path(path).is_file():
                yield f"{name}: {path} is not a file"
        if (ca := self.outgoing.ca_file) and Path(ca).is_file():
            try:
                ssl.create_default_context(cafile=ca)
            except OSError:
                yield f"outgoing.ca_file: {ca} holds no certificate in PEM"
        for name, url, schemes in (
            ("database.url", self.database.url, ("postgresql", "postgres")),
            ("redis.url", self.redis.url, ("redis", "rediss", "unix")),
        ):
            if (found := _parsed(url.get_secret_value())) is None:
                yield f"{name}: not a URL"
            elif found.scheme not in schemes:
                yield f"{name}: missing or not {' / '.join(schemes)}"
        try:
            keys = self.parsed_encryption_keys()
        except ValueError as fault:
            yield f"encryption_keys: {fault}"
        else:
            if len({name for name, _ in keys}) < len(keys):
                yield "encryption_keys: two keys share an id"
            if any(len(set(key)) < 8 for _, key in keys):
                yield "encryption_keys: a key is not random; use `head -c 32 /dev/urandom | base64`"
        for network in self.trusted_proxies:
            try:
                everyone = proxy_network(network).prefixlen == 0
            except ValueError:
                yield f"trusted_proxies: {network!r} is not a network"
            else:
                if everyone:
                    yield f"trusted_proxies: {network!r} is everyone; name the networks of your proxies"

    def parsed_encryption_keys(self) -> list[tuple[str, bytes]]:
        """(id, 32 bytes) of each encryption key, the active one first."""
        keys = []
        for item in filter(None, self.encryption_keys.get_secret_value().split(",")):
            name, _, text = item.strip().partition(":")
            try:
                key = base64.b64decode(text, validate=True)
            except ValueError:
                raise ValueError(f"key {name!r} is not base64") from None
            if len(key) != 32 or not name.isalnum():
                raise ValueError("each key is `id:base64 of 32 bytes`, the id of letters and digits")
            keys.append((name, key))
        if not keys:
            raise ValueError("missing; without them no secret can be sealed")
        return keys

    @classmethod
    def load(cls, over: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Self:
        """Read all sources. `over` (dotted names) wins over the environment; raises ConfigError."""
        return cls.load_with_sources(over, environ)[0]

    @classmethod
    def load_with_sources(
        cls, over: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
    ) -> tuple[Self, Mapping[str, str]]:
        """As `load`, with the source of each value that is not a default, by dotted name."""
        environ = os.environ if environ is None else environ
        faults: list[str] = []
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        path = environ.get("DOORWARD_CONFIG")
        for source, found in (
            (f"file {path}", _from_file(path, faults)),
            ("environment", _from_environment(environ, faults)),
            ("command", over or {}),
        ):
            values.update(found)
            sources.update(dict.fromkeys(found, source))
        settings = None
        while settings is None:
            try:
                settings = cls.model_validate(_nested(values))
            except ValidationError as error:
                faults += [line for item in error.errors() for line in _lines(item)]
                wrong = {".".join(map(str, item["loc"])) for item in error.errors()} & set(values)
                if not wrong:
                    raise ConfigError(faults) from None
                # The rules about several settings run only once each alone is right, and whoever
                # mends a configuration wants to hear everything now: go on without the wrong ones.
                values = {name: value for name, value in values.items() if name not in wrong}
        if faults:
            raise ConfigError(faults)
        return settings, sources


def proxy_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A network of trusted proxies; one of IPv4 mapped into IPv6 is the IPv4 network it stands for.
    Raises ValueError."""
    network = ipaddress.ip_network(text, strict=False)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= 96:
        return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


def _parsed(url: str) -> SplitResult | None:
    """The parts of a URL, or None where it is none. Python's own fault would repeat the password."""
    try:
        parts = urlsplit(url)
        # Postgres takes several hosts with a port each, of which Python knows nothing.
        for host in parts.netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{host}").port
    except ValueError:
        return None
    return parts


def names(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Every setting's dotted name."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from names(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def reference(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Each setting's dotted name, its default and what it does, for the documentation."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from reference(field.annotation, f"{prefix}{name}.")
        else:
            default = "" if isinstance(field.default, SecretStr) else str(field.default)
            yield prefix + name, f"`{default}`" if default not in ("", "()") else "", field.description or ""


def variable(name: str) -> str:
    """The environment variable of a dotted name."""
    return PREFIX + name.upper().replace(".", "_")


def data_folder(environ: Mapping[str, str] | None = None) -> Path | None:
    """The data folder of a running `doorward dev` that the other commands shall talk to."""
    value = (os.environ if environ is None else environ).get("DOORWARD_DATA")
    return Path(value) if value else None


def export(values: Mapping[str, object]) -> None:
    """Hand settings on to worker processes, which read them again from their environment."""
    os.environ.update({variable(name): str(value) for name, value in values.items()})


def _from_environment(environ: Mapping[str, str], faults: list[str]) -> dict[str, Any]:
    known = {variable(name): name for name in names()}
    found: dict[str, Any] = {}
    for key in sorted(k for k in environ if k.startswith(PREFIX) and k not in SOURCES):
        plain = key.removesuffix("_FILE") if key not in known else key
        if plain not in known:
            faults.append(f"{key}: unknown{_nearest(key, [*known, *SOURCES])}")
        elif key == plain:
            found[known[key]] = environ[key]
        elif plain in environ:
            faults.append(f"{key}: set together with {plain}; keep one")
        else:
            try:
                found[known[plain]] = Path(environ[key]).read_text().removesuffix("\n")
            except (OSError, ValueError) as fault:
                faults.append(f"{key}: cannot read {environ[key]}: {type(fault).__name__}")
    return found


def _from_file(path: str | None, faults: list[str]) -> dict[str, Any]:
    if not path:
        return {}
    try:
        tree = tomllib.loads(Path(path).read_text())
    except (OSError, ValueError) as fault:
        faults.append(f"DOORWARD_CONFIG: cannot read {path}: {fault}")
        return {}
    known = list(names())
    found: dict[str, Any] = {}
    for name, value in _flat(tree):
        if name in known:
            found[name] = value
        else:
            faults.append(f"{path}: {name}: unknown{_nearest(name, known)}")
    return found


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in values.items():
        section, _, leaf = name.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[leaf] = value
    return tree


def _lines(item: Any) -> list[str]:
    """One pydantic fault as our lines; it never shows the value, which may be a secret."""
    where = ".".join(str(part) for part in item["loc"])
    text = str(item["msg"]).removeprefix("Value error, ")
    return [f"{where} ({variable(where)}): {text}"] if where else text.splitlines()


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
