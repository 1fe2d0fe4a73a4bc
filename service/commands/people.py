"""`doorward user`: people."""

import json
import sys
from typing import Any, get_args

import click

from service.commands import Printable, in_world, refuse, show
from service.domain import administration
from service.domain.administration import TwoFactor
from service.flows import accounts as account_flow
from service.world import World


@click.group()
def user() -> None:
    """People."""


@user.command("create")
@click.argument("email", type=Printable())
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--role", "roles", multiple=True, type=click.Choice(account_flow.ROLES))
@click.option("--name", default="", type=Printable())
@click.option("--json", "as_json", is_flag=True)
def user_create(email: str, password_stdin: bool, roles: tuple[str, ...], name: str, as_json: bool) -> None:
    """Add a person with a verified address."""
    if not password_stdin:
        refuse("give --password-stdin: the one-time link that replaces it is not there yet", 2)
    raw = sys.stdin.buffer.read(4096)
    try:
        password = raw.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        refuse("the password is not UTF-8", 2)

    async def create(world: World) -> str:
        return str(await account_flow.create(world, email, password, name=name, roles=roles))

    person = in_world(create)
    click.echo(json.dumps({"id": person}) if as_json else f"created {person}")


@user.command("list")
@click.option("--two-factor", type=click.Choice(get_args(TwoFactor)), default="all", show_default=True)
@click.option("--json", "as_json", is_flag=True)
def user_list(two_factor: TwoFactor, as_json: bool) -> None:
    """Everyone, by address, or those whose second factor is in some state.

    pending and overdue: it is required of them and they have none. codes_low: at most two backup codes left.
    """

    async def read(world: World) -> None:
        # Printed as it is read: there may be millions.
        rows: list[dict[str, Any]] = []
        between = "["
        async for one in account_flow.everyone(world, two_factor):
            row = {
                "email": one.email,
                "two_factor": "activated" if one.activated else "not_activated",
                "roles": ",".join(one.roles),
                "disabled": one.disabled,
                "id": str(one.id),
            }
            if as_json:
                click.echo(between + json.dumps(row), nl=False)
                between = ", "
            elif len(rows := [*rows, row]) == 200:
                show(rows, False)
                rows = []
        if as_json:
            click.echo("[]" if between == "[" else "]")
        else:
            show(rows, False)

    in_world(read)


@user.command("show")
@click.argument("email", type=Printable())
@click.option("--json", "as_json", is_flag=True)
def user_show(email: str, as_json: bool) -> None:
    """One person."""

    async def read(world: World) -> dict[str, Any]:
        one = await account_flow.find(world, email)
        return {
            "id": str(one.id),
            "sub": str(one.sub),
            "email": one.email,
            "name": one.name,
            "roles": ",".join(one.roles),
            "email_verified": one.email_verified,
            "must_change_password": one.must_change_password,
            "disabled": one.disabled,
            "two_factor": "activated" if one.enrolled else "not_activated",
        }

    found = in_world(read)
    if as_json:
        click.echo(json.dumps(found))
    else:
        show([{"field": name, "value": value} for name, value in found.items()], False)


@user.command("disable")
@click.argument("email", type=Printable())
@click.option("--json", "as_json", is_flag=True)
def user_disable(email: str, as_json: bool) -> None:
    """Bar a person from every door; whatever they have open ends at once."""
    _ended(in_world(lambda world: account_flow.disable(world, email)), as_json)


@user.command("enable")
@click.argument("email", type=Printable())
def user_enable(email: str) -> None:
    """Let a disabled person sign in again."""
    in_world(lambda world: account_flow.enable(world, email))
    click.echo("enabled")


@user.command("end-sessions")
@click.argument("email", type=Printable())
@click.option("--json", "as_json", is_flag=True)
def user_end_sessions(email: str, as_json: bool) -> None:
    """End whatever a person has open, sign-ins under way included."""
    _ended(in_world(lambda world: account_flow.end_sessions(world, email)), as_json)


@user.command("unlock")
@click.argument("email", type=Printable())
def user_unlock(email: str) -> None:
    """Give a person's second factor all its tries back."""
    in_world(lambda world: account_flow.unlock(world, email))
    click.echo("unlocked")


@user.command("reset-two-factor")
@click.argument("email", type=Printable())
@click.option("--reason", type=Printable(), required=True, help="Written down in the audit log.")
@click.option("--json", "as_json", is_flag=True)
def user_reset_two_factor(email: str, reason: str, as_json: bool) -> None:
    """Take a person's second factor away; every session of theirs ends, and they are written to."""
    if (said := administration.reason(reason)) is None:
        refuse(f"--reason: say why, in one line of at most {administration.MAX_REASON} characters", 2)
    removed = in_world(lambda world: account_flow.reset_two_factor(world, email, said))
    if as_json:
        click.echo(json.dumps({"removed": removed}))
    else:
        click.echo(f"removed {removed} authenticator{'' if removed == 1 else 's'}")


def _ended(count: int, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"ended": count}))
    else:
        click.echo(f"ended {count} session{'' if count == 1 else 's'}")
