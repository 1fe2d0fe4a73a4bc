"""`doorward client`: portals, apps and machines."""

import json
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import click

from service.commands import Printable, in_world, refuse, show
from service.domain.oidc import clients, logos, records
from service.domain.oidc.clients import Client, Fault
from service.flows import clients as client_flow
from service.world import World

_READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def client() -> None:
    """Portals, apps and machines that may ask for tokens."""


@client.command("create")
@click.argument("id", type=Printable())
@click.option("--name", type=Printable(), help="As people read it; without it, the id.")
@click.option(
    "--auth-method",
    "token_endpoint_auth_method",
    type=click.Choice(get_args(clients.AuthMethod)),
    default="client_secret_basic",
    show_default=True,
    help="`none` is a public client: an app on a device, or in a browser.",
)
@click.option("--redirect-uri", "redirect_uris", multiple=True, help="Compared character by character.")
@click.option("--post-logout-redirect-uri", "post_logout_redirect_uris", multiple=True)
@click.option("--backchannel-logout-uri")
@click.option("--backchannel-logout-session-required", is_flag=True)
@click.option(
    "--grant-type",
    "grant_types",
    multiple=True,
    type=click.Choice(get_args(clients.GrantType)),
    default=["authorization_code"],
    show_default=True,
)
@click.option(
    "--scope", "scopes", multiple=True, help="Without it, openid, profile and email where people sign in."
)
@click.option("--first-party", is_flag=True, help="One of our own: nobody is asked for consent.")
@click.option("--require-pkce/--no-require-pkce", default=True, show_default=True)
@click.option(
    "--id-token-alg",
    "id_token_signed_response_alg",
    type=click.Choice(get_args(clients.IdTokenAlg)),
    default="RS256",
    show_default=True,
)
@click.option(
    "--access-token-alg",
    "access_token_signing_alg",
    type=click.Choice(get_args(clients.AccessTokenAlg)),
    default="ES256",
    show_default=True,
)
@click.option("--audience", help="Whom its access tokens are for, beside this service.")
@click.option("--access-seconds", type=int)
@click.option("--refresh-idle-seconds", type=int)
@click.option("--refresh-absolute-seconds", type=int)
@click.option("--cors-origin", "cors_origins", multiple=True)
@click.option("--jwks", "jwks_file", type=_READABLE, help="A file of public keys, for private_key_jwt.")
@click.option("--client-uri", help="Its home page.")
@click.option("--policy-uri", help="Its privacy policy.")
@click.option("--tos-uri", help="Its terms of service.")
@click.option("--brand-color", help="Of buttons and links on its way, as #0b5a66.")
@click.option("--logo", "logo_file", type=_READABLE, help="A file that holds its picture, PNG or SVG.")
@click.option("--json", "as_json", is_flag=True)
def client_create(as_json: bool, jwks_file: Path | None, logo_file: Path | None, **given: Any) -> None:
    """Register a client. Its secret, where it has one, is shown this once."""
    record = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    record["name"] = record["name"] or record["id"]
    if not record["scopes"] and "authorization_code" in record["grant_types"]:
        record["scopes"] = ["openid", "profile", "email"]
    if jwks_file is not None:
        record["jwks"] = _document(jwks_file)
    if logo_file is not None:
        record["logo"] = _picture(logo_file)
    made, faults = records.read(record)
    if made is None or faults:
        refuse("\n".join(_lines(faults)))
    secret = in_world(lambda world: client_flow.create(world, made))
    if as_json:
        click.echo(json.dumps({"id": made.id, "secret": secret}))
    else:
        click.echo(f"created {made.id}")
        if secret:
            _show_secret(secret)


@client.command("list")
@click.option("--json", "as_json", is_flag=True)
def client_list(as_json: bool) -> None:
    """Every client but the built-in ones, by id."""

    async def read(world: World) -> list[Client]:
        return [one async for one in client_flow.everyone(world)]

    names = ("id", "name", "token_endpoint_auth_method", "grant_types", "first_party", "disabled")
    rows = [{name: getattr(one, name) for name in names} for one in in_world(read)]
    show(rows if as_json else [{name: _text(value) for name, value in row.items()} for row in rows], as_json)


@client.command("show")
@click.argument("id", type=Printable())
@click.option("--json", "as_json", is_flag=True)
def client_show(id: str, as_json: bool) -> None:
    """One client, and when its living secrets were made and end; never a secret."""
    registered = in_world(lambda world: client_flow.find(world, id))
    secrets = [
        {
            "created_at": one.created_at.isoformat(timespec="seconds"),
            "expires_at": one.expires_at and one.expires_at.isoformat(timespec="seconds"),
        }
        for one in registered.secrets
    ]
    logo = registered.client.logo
    found = asdict(registered.client) | {
        "logo": logo and str(logo),
        "created_at": registered.created_at.isoformat(timespec="seconds"),
        "secrets": secrets,
    }
    if as_json:
        click.echo(json.dumps(found))
    else:
        show([{"field": name, "value": _text(value)} for name, value in found.items()], False)


@client.command("rotate-secret")
@click.argument("id", type=Printable())
@click.option(
    "--overlap",
    type=click.IntRange(0, clients.LONGEST_OVERLAP),
    default=0,
    show_default=True,
    help="Seconds for which the secrets before it stay good, so that nothing is interrupted.",
)
@click.option("--json", "as_json", is_flag=True)
def client_rotate_secret(id: str, overlap: int, as_json: bool) -> None:
    """Make a new secret, shown this once. Those before it end at once, or after the overlap."""
    secret = in_world(lambda world: client_flow.rotate_secret(world, id, overlap))
    if as_json:
        click.echo(json.dumps({"id": id, "secret": secret, "overlap": overlap}))
    else:
        _show_secret(secret)


@client.command("disable")
@click.argument("id", type=Printable())
def client_disable(id: str) -> None:
    """Close every door to a client."""
    in_world(lambda world: client_flow.disable(world, id))
    click.echo("disabled")


@client.command("enable")
@click.argument("id", type=Printable())
def client_enable(id: str) -> None:
    """Open its doors to a disabled client again."""
    in_world(lambda world: client_flow.enable(world, id))
    click.echo("enabled")


@client.command("apply")
@click.argument("file", type=_READABLE)
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option("--json", "as_json", is_flag=True)
def client_apply(file: Path, dry_run: bool, as_json: bool) -> None:
    """Make the registry hold the clients of a TOML or JSON FILE, all or none, and tell what changed.

    Doing it twice changes nothing more. Clients that the file does not name stay as they are. A `logo` is a
    data: URI, or the path of a file, from the folder of FILE.
    """
    document = _document(file)
    _take_pictures(document, file.parent)
    wanted, faults = records.read_all(document)
    if faults:
        refuse("\n".join(f"{file}: {line}" for line in _lines(faults, document)))
    changes = in_world(lambda world: client_flow.apply(world, wanted, dry_run=dry_run))
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run} | _sorted(changes)))
        return
    for change in changes:
        click.echo(f"{change.outcome:<9}  {change.client.id}")
        for name, (old, new) in change.fields.items():
            click.echo(f"{'':<9}    {name}: {json.dumps(old)} -> {json.dumps(new)}")
    for change in changes:
        if change.secret_owed:
            click.echo(
                f"{change.client.id} has no secret yet: doorward client rotate-secret {change.client.id}"
            )
    if dry_run:
        click.echo("nothing was kept: this was a dry run")


def _sorted(changes: Sequence[client_flow.Change]) -> dict[str, Any]:
    """The changes by outcome, as JSON."""
    told: dict[str, Any] = {
        outcome: [
            {"id": change.client.id, "fields": change.fields}
            for change in changes
            if change.outcome == outcome
        ]
        for outcome in get_args(client_flow.Outcome)
    }
    return told | {"secret_owed": [change.client.id for change in changes if change.secret_owed]}


def _document(path: Path) -> Any:
    """What a TOML or JSON file holds; anything else is refused with the place."""
    try:
        text = path.read_bytes().decode("utf-8")
        if path.suffix == ".toml":
            return tomllib.loads(text)
        return json.loads(text, object_pairs_hook=_without_repetition)
    except UnicodeDecodeError:
        refuse(f"{path}: is not UTF-8")
    except (OSError, ValueError, RecursionError) as fault:
        refuse(f"{path}: {fault}")


def _take_pictures(document: Any, folder: Path) -> None:
    """Put the pictures whose files are named into the records; what is not of its form is told later."""
    records = document.get("clients") if isinstance(document, dict) else None
    for record in records if isinstance(records, list) else []:
        logo = record.get("logo") if isinstance(record, dict) else None
        if isinstance(logo, str) and not logo.startswith("data:"):
            record["logo"] = _picture(folder / logo)


def _picture(path: Path) -> str:
    """A file as a record writes it; of one that is too large so much that it is seen to be."""
    try:
        with path.open("rb") as file:
            return logos.to_uri(file.read(logos.LARGEST + 1))
    except (OSError, ValueError) as fault:
        refuse(f"{path}: {fault}")


def _without_repetition(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Of a name that stands there twice the last would win unseen; TOML refuses it too."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!a} stands twice in one object")
        found[name] = value
    return found


def _lines(faults: Sequence[Fault], document: Any = None) -> list[str]:
    """A line for each fault: the place, the client where several may be meant, and what is wrong."""
    return [f"{ascii(fault.pointer)[1:-1]}{_named(fault, document)}: {fault.text}" for fault in faults]


def _named(fault: Fault, document: Any) -> str:
    place = fault.pointer.split("/")[2:3]
    if document is None or not place or not place[0].isdigit():
        return ""
    record = document["clients"][int(place[0])]
    return f" ({record['id']!a})" if isinstance(record, dict) and "id" in record else ""


def _show_secret(secret: str) -> None:
    click.echo(f"secret  {secret}")
    click.echo("Keep it now: it cannot be shown again.", err=True)


def _text(value: object) -> str:
    """A field as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value) if isinstance(value, str | bool | int) else json.dumps(value)
