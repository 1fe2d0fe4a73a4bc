"""The sections of the settings: each a table of the TOML file, with its defaults and bounds."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

#: Every number has an upper bound: a slip of the finger must be told here, not by a date in the year 9999.
Seconds = Annotated[int, Field(gt=0, le=366 * 86_400)]
Milliseconds = Annotated[int, Field(gt=0, le=600_000)]
Count = Annotated[int, Field(gt=0, le=10_000)]
#: A page that ours link to.
PageAddress = Annotated[str, Field(pattern=r"^$|^https://[^\s\"'<>]+$", max_length=500)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class DatabaseSettings(Section):
    url: SecretStr = Field(SecretStr(""), description="PostgreSQL, as postgresql://user@host/name.")
    pool: Annotated[int, Field(gt=0, le=1000)] = Field(10, description="Connections of each worker.")
    acquire_ms: Milliseconds = Field(250, description="How long a request waits for a connection, ms.")
    connect_ms: Milliseconds = Field(1000, description="How long a new connection may take, ms.")
    statement_ms: Milliseconds = Field(1000, description="The longest statement, ms.")


class RedisSettings(Section):
    url: SecretStr = Field(SecretStr(""), description="Redis or Valkey, as redis://host or unix:///path.")
    budget_ms: Milliseconds = Field(
        50, description="How long a call may take before Redis counts as away, ms."
    )
    breaker_seconds: Seconds = Field(5, description="How long an absent Redis is left alone, s.")


class TwoFactorSettings(Section):
    required: Literal["off", "all"] = Field("off", description="Who must have a second factor.")
    window: int = Field(1, ge=0, le=2, description="Time steps accepted on either side of the present one.")
    per_5_minutes: int = Field(5, ge=1, le=20, description="A person's failures in 5 minutes.")
    per_hour: int = Field(20, ge=1, le=50, description="A person's failures in an hour.")
    per_day: int = Field(50, ge=1, le=50, description="A person's failures in a day.")
    in_a_row: Count = Field(100, description="Failures in a row that block until an unlock.")
    codes_seconds: int = Field(
        30, ge=0, le=3600, description="How long a page shows new backup codes, s; 0 = until it is left."
    )
    trust_days: int = Field(
        0,
        ge=0,
        le=90,
        description="How long a person may trust a browser without a second factor, days; 0 = never.",
    )


class TokenSettings(Section):
    pre_auth_seconds: Seconds = Field(300, description="Life of a pre-auth token, s.")
    enrolment_seconds: Seconds = Field(900, description="Its life once enrolment has started, s.")
    pre_auth_attempts: int = Field(5, ge=1, le=10, description="Codes one pre-auth token may try.")
    access_seconds: Seconds = Field(300, description="Life of access and ID tokens, s.")
    refresh_idle_seconds: Seconds = Field(86_400, description="Life of an unused refresh token, s.")
    refresh_absolute_seconds: Seconds = Field(2_592_000, description="Life of a refresh family, s.")
    refresh_grace_seconds: int = Field(
        10, ge=0, le=60, description="How long the last refresh token gets the same successor again, s."
    )
    authorization_request_seconds: Seconds = Field(
        3_600, description="How long a portal's request waits for a sign-in, s."
    )
    pushed_request_seconds: Seconds = Field(90, description="Life of a pushed authorization request, s.")
    code_seconds: Seconds = Field(60, description="Life of an authorization code, s.")
    cookie_idle_seconds: Seconds = Field(43_200, description="Life of a browser's unused session, s.")
    cookie_absolute_seconds: Seconds = Field(604_800, description="Life of a browser's session, s.")
    step_up_seconds: Seconds = Field(300, description="How long a proof of oneself counts, s.")
    device_seconds: Seconds = Field(15_552_000, description="How long a browser counts as known, s.")


class LimitSettings(Section):
    sign_in_network: Count = Field(30, description="Failed passwords of a network in 5 minutes.")
    second_factor_network: Count = Field(30, description="Failed second factors of a network in 5 minutes.")
    wide_factor: int = Field(8, ge=1, le=64, description="How much more an IPv6 /48 may fail than one /64.")


class HashSettings(Section):
    memory_kib: int = Field(19_456, ge=8192, le=4_194_304, description="Argon2id memory, KiB.")
    passes: int = Field(2, ge=1, le=10, description="Argon2id passes.")
    lanes: int = Field(1, ge=1, le=8, description="Argon2id lanes.")
    threads: int = Field(0, ge=0, le=256, description="Hashes at once in a worker; 0 = cores / workers.")
    queue: Count = Field(32, description="Hashes that may wait in a worker.")
    deadline_ms: Milliseconds = Field(1500, description="How long a hash may wait, ms.")


class KeySettings(Section):
    rotate_days: int = Field(
        90, ge=0, le=3650, description="Age at which a signing key is followed by the next, days; 0 = never."
    )


class OutgoingSettings(Section):
    private_addresses: bool = Field(False, description="Whether portals in private networks may be told too.")
    ca_file: str = Field("", description="PEM file of further authorities for the certificates of portals.")


class PagesSettings(Section):
    name: Annotated[str, Field(min_length=1, max_length=60)] = Field(
        "Doorward", description="What the pages call this service."
    )
    help_uri: PageAddress = Field("", description="A help page of yours; empty: the built-in one.")
    privacy_uri: PageAddress = Field("", description="Your privacy statement, linked from every page.")
    terms_uri: PageAddress = Field("", description="Your terms of service, linked from every page.")
    support_email: Annotated[str, Field(pattern=r"^$|^[^@\s]+@[^@\s]+$")] = Field(
        "", description="Where people who cannot sign in may write to."
    )
