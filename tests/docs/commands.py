"""Checks a command of the documentation without running it: the real argument parsers, recipes, make targets and settings."""

import argparse
import io
import re
import shlex
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from importlib import import_module

from pydantic import ValidationError

from service.settings import CLIENTS_KEY, PREFIX, Settings, unknown
from tests.docs.pages import ROOT
from training.__main__ import parser as training_parser
from training.data.log import SCHEMA, TITLES
from training.errors import TrainingError
from training.recipe import read_recipe
from training.sources import SOURCES

_ASSIGNMENT = re.compile(r"([A-Z_]+)=(.*)", re.DOTALL)
_PLACEHOLDER = re.compile(r"[A-Z]+")
_ORDINARY = ("ls", "ln", "cp", "git", "mkdir", "mv", "openssl", "tar")
"""Programs of the system. Only the files of the checkout that they name are checked."""


class WrongCommandError(Exception):
    """A documented command that would not work; the text says why."""


def commands(text: str) -> Iterator[str]:
    """Yield the commands of a shell block. A command is one line, or several joined by a quote or a backslash."""
    whole = ""
    for line in text.splitlines():
        whole = f"{whole}\n{line}" if whole else line
        if whole.endswith("\\"):
            continue
        try:
            words = shlex.split(whole, comments=True)
        except ValueError:  # a quote is still open
            continue
        if words:
            yield whole
        whole = ""
    if whole:
        raise WrongCommandError(f"a quote is not closed: {whole}")


def check(command: str) -> None:
    """Raise WrongCommandError if a command names a program, target, option, recipe, setting or file that does not exist.

    Single capital words such as LOG stand for the reader's own value.
    """
    words = shlex.split(command, comments=True)
    while words and (assignment := _ASSIGNMENT.fullmatch(words[0])):
        _check_variable(*assignment.groups())
        words = words[1:]
    if not words:
        return
    program = re.sub(r"^(\.venv/bin/)?python3?$", "python", words[0])
    if program in _ORDINARY:
        _check_files(words[1:])
    elif program in _CHECKS:
        _CHECKS[program](words[1:])
    else:
        raise WrongCommandError(f"{words[0]}: tests/docs/commands.py cannot check this program; teach it how")


def options_of(arguments: Sequence[str], parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse with the real parser. WrongCommandError if it refuses, or if an option is not in its help."""
    said, helped = io.StringIO(), io.StringIO()
    try:
        with redirect_stderr(said), redirect_stdout(said), _old_names_refused():
            parsed = parser.parse_args(["7" if word == "N" else word for word in arguments])
    except SystemExit as ended:
        if ended.code:
            raise WrongCommandError(said.getvalue()) from ended
        return argparse.Namespace()
    with redirect_stdout(helped), suppress(SystemExit):
        parser.parse_args([*arguments[:1], "--help"] if "command" in parsed else ["--help"])
    for word in arguments:
        name = word.partition("=")[0]
        if name.startswith("--") and not re.search(rf"(?<![\w-]){name}(?![\w-])", helped.getvalue()):
            raise WrongCommandError(f"{name} is an abbreviation or an old name; write the option as the help does")
    return parsed


def check_recipe(name: str) -> None:
    """WrongCommandError if a recipe cannot be read. A reader's own file is checked in the page's TOML block instead."""
    if _PLACEHOLDER.fullmatch(name) or name.endswith(".toml"):
        return
    try:
        with _old_names_refused():
            read_recipe(name)
    except TrainingError as error:
        raise WrongCommandError(str(error)) from error


def check_setting(name: str, value: str | None = None) -> None:
    """WrongCommandError if a setting does not exist or cannot have this value."""
    if faults := unknown({name: value or ""}):
        raise WrongCommandError(faults[0])
    if value is not None and name != CLIENTS_KEY:
        try:  # some settings need a challenger
            Settings.model_validate({"challenger": "challenger/current", name.removeprefix(PREFIX).lower(): value})
        except ValidationError as error:
            raise WrongCommandError(f"{name}={value}: {error}") from error


@contextmanager
def _old_names_refused() -> Iterator[None]:
    """Raise WrongCommandError for a name that works only with a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        try:
            yield
        except FutureWarning as warning:
            raise WrongCommandError(str(warning)) from warning


def make_targets() -> list[str]:
    """Return the targets of the Makefile that are for people."""
    return re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


def _check_variable(name: str, value: str) -> None:
    if name.startswith(PREFIX):
        check_setting(name, value)
    elif not any(re.search(rf"\$[({{]{name}\b", (ROOT / file).read_text()) for file in ("Makefile", "docker-compose.yml")):
        raise WrongCommandError(f"{name}: neither the Makefile nor docker-compose.yml reads this variable")


def _check_files(words: Sequence[str]) -> None:
    folders = tuple(f"{folder}/" for folder in ("model", "training", "service", "docker", "docs", "tests"))
    for word in words:
        if word.startswith(folders) and not (ROOT / word).exists():
            raise WrongCommandError(f"{word}: no such file")


def _make(words: Sequence[str]) -> None:
    for word in words:
        if assignment := _ASSIGNMENT.fullmatch(word):
            _check_variable(*assignment.groups())
        elif word not in make_targets():
            raise WrongCommandError(f"make {word}: no such target")


def _python(words: Sequence[str]) -> None:
    if words[:1] == ["-c"] and len(words) == 2:
        return _compiles(words[1])
    if words[:1] != ["-m"] or len(words) < 2:
        raise WrongCommandError(f"python {shlex.join(words)}: only `python -m MODULE` and `python -c CODE` are checked")
    module, *arguments = words[1:]
    if module == "training":
        _training(arguments)
    elif module == "service":
        if arguments not in ([], ["--help"]):
            raise WrongCommandError(f"python -m service takes no arguments but --help; found {arguments}")
    elif module == "pip":
        _client_tool(arguments)
    elif module.startswith(("tests.load", "tests.browser")):
        _load(module, arguments)
    else:
        raise WrongCommandError(f"python -m {module}: tests/docs/commands.py cannot check this module; teach it how")
    return None


def _compiles(code: str) -> None:
    try:
        compile(code, "docs", "exec")
    except SyntaxError as error:
        raise WrongCommandError(f"python -c {shlex.quote(code)}: {error}") from error


def _training(arguments: Sequence[str]) -> None:
    options = options_of(arguments, training_parser())
    recipes = [getattr(options, "recipe", None), getattr(options, "protocol", None), *getattr(options, "recipes", [])]
    for recipe in filter(None, recipes):
        check_recipe(recipe)
    if getattr(options, "source", "canonical") not in SOURCES:
        raise WrongCommandError(f"--source {options.source}: no such source")
    ours = {*SCHEMA.names(), *TITLES.names(), "at", "at_s"}
    for pair in getattr(options, "column", []):
        if pair.partition("=")[0] not in ours:
            raise WrongCommandError(f"--column {pair}: no such column")


def _load(module: str, arguments: Sequence[str]) -> None:
    name = module if module not in ("tests.load", "tests.load.peers") else f"{module}.__main__"
    parser: argparse.ArgumentParser = import_module(name).parser()
    check_recipe(getattr(options_of(arguments, parser), "recipe", "nexttrack"))


def _torchrun(words: Sequence[str]) -> None:
    place = words.index("--") if "--" in words else len(words)
    _python(["-m", *words[place + 1 :]])


def _export(words: Sequence[str]) -> None:
    for word in words:
        if not (assignment := _ASSIGNMENT.fullmatch(word)):
            raise WrongCommandError(f"export {word}: wanted NAME=VALUE")
        _check_variable(*assignment.groups())


def _docker(words: Sequence[str]) -> None:
    services = re.findall(r"^  ([a-z-]+):$", (ROOT / "docker-compose.yml").read_text("utf-8"), re.MULTILINE)
    if words[0] != "compose":
        raise WrongCommandError(f"docker {words[0]}: only docker compose is checked")
    made = argparse.ArgumentParser(prog="docker compose")
    made.add_argument("verb", choices=["up", "down", "build", "run", "exec", "start", "stop", "restart", "logs"])
    made.add_argument("services", nargs="*")
    made.add_argument("--scale", action="append", default=[], metavar="SERVICE=COUNT")
    flags = ("--build", "--detach", "--rm", "--no-deps", "-T")
    for flag in flags:
        made.add_argument(flag, action="store_true")
    words, inside = _split_inside(words[1:])
    # Flags go first: some versions of argparse take no positional arguments after an option that follows others.
    options = options_of([*filter(flags.__contains__, words), *(word for word in words if word not in flags)], made)
    for service in (*options.services, *(scaled.partition("=")[0] for scaled in options.scale)):
        if service not in services:
            raise WrongCommandError(f"docker-compose.yml has no service {service}")
    if inside and inside[0].endswith("/python"):
        _python(inside[1:])


def _split_inside(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return the words of Compose itself, and the command that `run` or `exec` executes in the container of a service."""
    if words[:1] not in (["run"], ["exec"]):
        return words, []
    service = next((place for place, word in enumerate(words[1:], 1) if not word.startswith("-")), len(words))
    return words[: service + 1], words[service + 1 :]


def _client_tool(words: Sequence[str]) -> None:
    """Run by tests/clients with the same generators, in the releases that this checkout pins."""
    pinned = (ROOT / "constraints.txt").read_text("utf-8") + (ROOT / "tests/clients/typescript/package.json").read_text("utf-8")
    for word in words:
        name = word.partition("@")[0]
        if name not in ("install", "generate") and re.fullmatch(r"[a-z][a-z-]+", name) and name not in pinned:
            raise WrongCommandError(f"{word}: tests/clients does not use this package")


def _curl(words: Sequence[str]) -> None:
    """Accept any curl command, because test_service.py runs them on a real service."""
    if not any(word.startswith("http://127.0.0.1:8000/") for word in words):
        raise WrongCommandError("a curl command asks http://127.0.0.1:8000/")


_CHECKS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "curl": _curl,
    "docker": _docker,
    "export": _export,
    "make": _make,
    "npm": _client_tool,
    "npx": lambda words: _client_tool(words[:1]),
    "openapi-python-client": lambda words: _client_tool(words[:1]),
    "python": _python,
    "torchrun": _torchrun,
}
