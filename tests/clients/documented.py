"""The clients that `docs/integrations.md` shows: their code, and the commands that generate them."""

import shlex

from tests.clients.conftest import SECRET
from tests.docs.commands import commands
from tests.docs.pages import Block, page

DOCUMENTED = "http://127.0.0.1:8000"


def blocks(client: str, language: str) -> list[Block]:
    """The code blocks of a client in one language."""
    found = page("docs/integrations.md").blocks
    return [block for block in found if block.note == f"client: {client}" and block.language == language]


def code(client: str, language: str, address: str) -> str:
    """The one program of a client, which calls the service at `address` with a key."""
    [block] = blocks(client, language)
    return block.text.replace(DOCUMENTED, address).replace("SECRET", SECRET)


def generator(client: str, program: str, address: str) -> list[str]:
    """The arguments of the documented command that generates a client from the service at `address`."""
    shell = [command for block in blocks(client, "sh") for command in commands(block.text)]
    [command] = [command for command in shell if f"{program} " in command and address_of(command)]
    words = shlex.split(command.replace(DOCUMENTED, address))
    return words[words.index(program) + 1 :]


def address_of(command: str) -> bool:
    """Whether a command reads the documented service."""
    return f"{DOCUMENTED}/openapi.json" in command


def lines(output: str) -> dict[str, str]:
    """What a documented program prints: the first word of each line, and the rest."""
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in output.splitlines()}
