"""The command line. Exit 0: done; 1: refused; 2: wrong use."""

import click

from service import __version__
from service.commands.clients import client
from service.commands.configuration import config, list_errors, openapi
from service.commands.database import migrate
from service.commands.dev import dev
from service.commands.keys import keys
from service.commands.people import user
from service.commands.serve import serve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Doorward: sign-in with a second factor, and the sessions it opens."""


for command in (serve, dev, migrate, config, user, client, keys, list_errors, openapi):
    main.add_command(command)

if __name__ == "__main__":
    main()
