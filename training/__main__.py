"""The command line, `python -m training COMMAND`: it parses options, and `training.commands` executes them."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from model.artifact import ArtifactError
from model.events import KEPT_EVENTS, KEPT_OPINIONS, KEPT_PLAYS
from training.errors import TrainingError
from training.import_help import import_help

_RUNS = Path(".nexttrack/runs")
_ARTIFACTS = Path("artifacts")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code. An error that a person can correct is printed as a sentence, without a
    traceback.
    """
    options = parser().parse_args(arguments)
    console = Console(stderr=True)
    try:
        if os.environ.get("WORLD_SIZE", "1") != "1" and options.command != "train":
            raise TrainingError(f"found {options.command} under torchrun; wanted train, the rest is work for one process")
        _command(options.command)(options, console)
    except (ArtifactError, TrainingError) as error:
        return _said(str(error), console)
    except OSError as error:
        return _said(f"{error.filename}: {error.strerror}" if error.filename else str(error), console)
    except KeyboardInterrupt:
        console.print(_STOPPED.get(options.command, "stopped"), highlight=False)
        return 130
    return 0


_STOPPED = {
    **dict.fromkeys(("train", "run", "compare"), "stopped; the same command goes on from the last finished epoch"),
    "backfill": "stopped; the same command goes on where this one was",
}


def _said(fault: str, console: Console) -> int:
    console.print(f"[red]error:[/red] {escape(fault)}", highlight=False, soft_wrap=True)
    return 1


def parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="python -m training",
        description="From a listening log to a model that the service can run. `run LOG` does it all.",
    )
    add = top.add_subparsers(dest="command", metavar="COMMAND", required=True).add_parser
    _log_commands(add)
    _run_commands(add)
    _service_commands(add)
    return top


def _log_commands(add: "Callable[..., argparse.ArgumentParser]") -> None:
    one = add("import", help="read a listening log into nexttrack's own form", description=import_help(), **_RAW)
    one.add_argument("paths", nargs="+", metavar="PATH", help="files, folders, globs, zip archives or URLs to read")
    one.add_argument("--out", type=Path, required=True, metavar="LOG", help="the folder to write")
    one.add_argument("--source", default="canonical", help="the format, see above (default: %(default)s)")
    one.add_argument("--column", action="append", default=[], metavar="OURS=THEIRS", help="a column under another name")
    one.add_argument("--user", metavar="NAME", help="the listener of all rows, if the log has no column for it")
    one.add_argument("--type", help="the type of all rows, if the log has no column for it")
    one.add_argument("--timezone", metavar="ZONE", help="time zone of times without one, for example Europe/Berlin or UTC")
    one.add_argument("--dates", choices=["day-first", "month-first"], help="how to read dates such as 1/2/2026")
    one.add_argument("--query", metavar="SQL", help="the query for a database (--source sql)")
    one.add_argument("--catalogue", metavar="FILE", help="a file with titles, artists, albums and durations of the tracks")
    one.add_argument(
        "--catalogue-column",
        action="append",
        default=[],
        metavar="OURS=THEIRS",
        help="a column of the catalogue under another name",
    )
    one.add_argument("--encoding", help="encoding of text files (default: UTF-8, or as a byte order mark says)")
    one.add_argument("--max-broken", type=_share, default=0.01, help="largest share of broken rows to accept (%(default)s)")
    one.add_argument("--force", action="store_true", help="replace a log that another command wrote, or that has more events")

    one = add(
        "simulate",
        help="write a log of simulated listeners, whose best possible ranking is known",
        description=_SIMULATE,
        **_RAW,
    )
    one.add_argument("--out", type=Path, required=True, metavar="LOG", help="the folder to write")
    one.add_argument("--world", choices=["moods", "habits"], default="moods", help="see above (default: %(default)s)")
    one.add_argument("--listeners", type=int, help="(2000 with moods, 80 with habits)")
    one.add_argument("--tracks", type=int, help="(2000 with moods, 20000 with habits)")
    one.add_argument("--artists", type=int, help="(200 with moods, 2000 with habits)")
    one.add_argument("--sessions", type=float, help="mean number of sessions of a listener (5 with moods, 130 with habits)")
    one.add_argument("--days", type=int, help="(28 with moods, 365 with habits)")
    one.add_argument("--seed", type=int, default=1, help="the same seed makes the same log (%(default)s)")
    one.add_argument("--force", action="store_true", help="replace a log that is there already")

    one = add("describe", help="print how the listeners of a log skip and repeat", description=_DESCRIBE, **_RAW)
    one.add_argument("logs", nargs="+", type=Path, metavar="LOG", help="folders that `import` or `simulate` wrote")


def _run_commands(add: "Callable[..., argparse.ArgumentParser]") -> None:
    one = add("train", help="fit a recipe's network to a log", description=_TRAIN, **_RAW)
    _add_log_and_recipe(one)

    one = add("evaluate", help="measure a trained network beside the baselines", description=_EVALUATE, **_RAW)
    _add_run(one)
    _add_cases(one)

    one = add("rules", help="measure what the service's rules do to hits and coverage", description=_RULES, **_RAW)
    _add_run(one)
    _add_cases(one)

    one = add("export", help="write a measured network as an artifact for the service", description=_EXPORT, **_RAW)
    _add_run(one)
    _add_artifacts(one)
    one.add_argument(
        "--session-memory",
        type=Path,
        metavar="LOG",
        help="a log whose sessions fill the session memory, instead of the run's log",
    )
    one.add_argument("--remember", type=Path, dest="session_memory", action=_OldName, help=argparse.SUPPRESS)

    one = add("run", help="train, evaluate and export", description=_RUN, **_RAW)
    _add_log_and_recipe(one)
    _add_cases(one)
    _add_artifacts(one)

    one = add("artifacts", help="list the versions of the exported models", description=_VERSIONS, **_RAW)
    _add_out(one)

    one = add("rollback", help="make the previous version the current one", description=_ROLLBACK, **_RAW)
    one.add_argument(
        "version", nargs="?", metavar="VERSION", help="the version to use (default: the one before the current one)"
    )
    _add_out(one)

    one = add("compare", help="compare recipes over several seeds and logs", description=_COMPARE, **_RAW)
    one.add_argument("recipes", nargs="+", metavar="RECIPE", help="nexttrack's own by name, or TOML files")
    one.add_argument(
        "--log", type=Path, action="append", required=True, metavar="LOG", help="a log to compare on; may be repeated"
    )
    one.add_argument("--seeds", type=int, default=3, help="number of seeds, counted from 1 (%(default)s)")
    one.add_argument("--epochs", type=int, metavar="N", help="largest number of epochs of each run (default: the recipe's)")
    one.add_argument("--protocol", metavar="RECIPE", help="use this recipe's split, skip rule and popularity for all recipes")
    one.add_argument(
        "--reference",
        metavar="NAME",
        help="measure times until this recipe's best validation scores (default: the first recipe)",
    )
    one.add_argument("--out", type=Path, default=Path(".nexttrack/compare"), help="folder of runs and results (%(default)s)")
    _add_cases(one)
    _add_threads(one)


def _service_commands(add: "Callable[..., argparse.ArgumentParser]") -> None:
    one = add("backfill", help="fill a running service with the newest events of a log", description=_BACKFILL, **_RAW)
    one.add_argument("log", type=Path, metavar="LOG", help="a folder that `import` wrote")
    _add_service(one)
    one.add_argument(
        "--newest",
        type=_positive,
        default=KEPT_EVENTS + KEPT_PLAYS,
        metavar="N",
        help="number of newest events of each listener (%(default)s)",
    )
    one.add_argument(
        "--opinions",
        type=_positive,
        default=KEPT_OPINIONS,
        metavar="N",
        help="number of liked or disliked tracks of each listener (%(default)s)",
    )

    one = add("replay", help="send the held-out part of a log through a running service", description=_REPLAY, **_RAW)
    one.add_argument("log", type=Path, metavar="LOG", help="the log that the artifact was trained on")
    _add_service(one)
    one.add_argument("--artifact", type=Path, default=_ARTIFACTS / "current", help="the artifact that it serves (%(default)s)")
    one.add_argument("--listeners", type=int, default=200, help="number of listeners, drawn evenly; 0: all (%(default)s)")
    one.add_argument("--at-once", type=_positive, default=8, help="number of listeners replayed at the same time (%(default)s)")
    one.add_argument("--prefix", default="replay-", help="prefix of user and event ids, so that runs do not mix (%(default)s)")


def _add_service(one: argparse.ArgumentParser) -> None:
    one.add_argument("--url", default="http://127.0.0.1:8000", help="where the service answers (%(default)s)")
    _add_key_file(one)


def _add_key_file(one: argparse.ArgumentParser, held: str = "an API key of the service") -> None:
    one.add_argument("--key-file", type=Path, metavar="FILE", help=f"holds {held} (default: what $NEXTTRACK_KEY holds)")


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"found {text}; wanted at least 1")
    return number


def _share(text: str) -> float:
    if not 0 <= (share := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"found {text}; wanted a share from 0 to 1, such as 0.05 for 5 %")
    return share


def _add_log_and_recipe(one: argparse.ArgumentParser) -> None:
    one.add_argument("log", type=Path, metavar="LOG", help="a folder that `import` or `simulate` wrote")
    one.add_argument("--recipe", default="nexttrack", help="one of nexttrack's own, or a TOML file (%(default)s)")
    one.add_argument("--seed", type=int, help="seed to use instead of the recipe's")
    one.add_argument("--run", type=Path, help=f"the run's folder (default: one below {_RUNS}/LOG-RECIPE-SEED)")
    one.add_argument("--anew", action="store_true", help="delete the run in this folder, and train from the start")
    one.add_argument(
        "--keep-runs",
        type=int,
        default=3,
        metavar="N",
        help="number of newest runs to keep of this log, recipe and seed (%(default)s)",
    )
    _add_threads(one)


def _add_run(one: argparse.ArgumentParser) -> None:
    one.add_argument("run", type=Path, metavar="RUN", help="the folder of a run that `train` made")
    _add_threads(one)


def _add_cases(one: argparse.ArgumentParser) -> None:
    one.add_argument("--cases", type=int, help="number of test cases, drawn evenly (default: all)")


def _add_artifacts(one: argparse.ArgumentParser) -> None:
    _add_out(one)
    one.add_argument("--force", action="store_true", help="publish the model even if it is worse than popularity")
    one.add_argument("--keep-artifacts", type=int, metavar="N", help="delete older versions of this name (default: keep all)")
    one.add_argument(
        "--blocks",
        metavar="URL|FILE",
        help="never propose what a service has taken down, or a file with the reply of /v1/blocks",
    )
    _add_key_file(one, "an admin key of the service, for --blocks URL")


def _add_out(one: argparse.ArgumentParser) -> None:
    one.add_argument("--out", type=Path, default=_ARTIFACTS, help="folder of artifacts (%(default)s)")


def _add_threads(one: argparse.ArgumentParser) -> None:
    one.add_argument("--threads", type=int, help="number of torch threads (default: one for each core)")


def _command(name: str) -> Callable[[argparse.Namespace, Console], None]:
    # Idle OpenMP threads sleep instead of spinning. On a machine with other work, a step then takes a third of the time.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if name in ("artifacts", "rollback"):
        from training import artifact_commands  # noqa: PLC0415 (as below; it loads no torch)

        return artifact_commands.artifacts if name == "artifacts" else artifact_commands.rollback
    if name in ("backfill", "replay"):
        from training import service_commands  # noqa: PLC0415 (as below)

        return service_commands.backfill_ if name == "backfill" else service_commands.replay_
    from training import commands  # noqa: PLC0415 (torch takes seconds to load, and --help must not)

    table = {
        "import": commands.import_,
        "simulate": commands.simulate_,
        "describe": commands.describe,
        "train": commands.train,
        "evaluate": commands.evaluate,
        "rules": commands.rules,
        "export": commands.export,
        "run": commands.run_all,
        "compare": commands.compare_,
    }
    return table[name]


class _OldName(argparse.Action):
    """An option under its name of version 0.1.0. It works for one more version, with a warning."""

    def __call__(self, _: object, namespace: argparse.Namespace, values: object, option: str | None = None) -> None:
        warnings.warn(f"{option} is called --{self.dest.replace('_', '-')} now", FutureWarning, stacklevel=2)
        setattr(namespace, self.dest, values)


_RAW = {"formatter_class": argparse.RawDescriptionHelpFormatter}
_SIMULATE = """\
Simulate listeners, and write their plays and skips as a log. Because their world is known, the best score that any model
could reach is known too: `evaluate` prints it beside the model's. There are two worlds:

  moods    many listeners with tastes and short histories; a session's mood must be guessed
  habits   few listeners with long histories, who repeat tracks and sequences as people do

  python -m training simulate --out logs/demo
  python -m training simulate --world habits --out logs/habits"""
_DESCRIBE = """\
Print how the listeners of logs skip, repeat tracks and sequences, and come back to them. With several logs there is a column
for each, and the last one is divided by the first.

  python -m training describe logs/mine logs/habits"""
_TRAIN = """\
Fit the recipe's network to a log, until the validation score stops rising. A run that was killed continues where it
stopped, and ends with the weights it would have had. If the log has changed, a new run starts in a folder of its own.
--keep-runs says how many older runs are kept.

  python -m training train logs/demo --recipe sasrec

Several processes can share every batch, with a GPU each if there are any. (`--` keeps torchrun from reading our options.)

  torchrun --nproc-per-node 2 -m -- training train logs/demo"""
_EVALUATE = """\
Measure a trained network and the baselines on the log's last part, over the full catalogue. Prints a table, and writes
report.json and report.html into the run's folder.

  python -m training evaluate .nexttrack/runs/demo-sasrec-1

RUN is a run's own folder, or the folder above, which stands for the run that was used last."""
_RULES = """\
Make the lists of a trained network under each rule that a request may set (artist_gap, album_gap, not_heard_days, novelty,
explore, replay). Print hits, refused tracks, coverage, and the share of tracks that the listener has heard.

  python -m training rules .nexttrack/runs/demo-sasrec-1 --cases 2000"""
_EXPORT = """\
Write the network as an artifact, check that the service can open it, and make it the current one. A model that is worse than
popularity on its own test part is published only with --force.

  python -m training export .nexttrack/runs/demo-sasrec-1 --out artifacts

A session memory (recipe `nowplaying`) can be filled with the sessions of a newer log, without training:

  python -m training export .nexttrack/runs/nowplaying-nowplaying-1 --session-memory logs/newer"""
_RUN = """\
Train, evaluate and export. A finished training is not repeated; measuring and exporting are. If the artifact in use was made
from the same log, recipe and code, nothing is done (unless --anew or --blocks is given).

  python -m training run logs/demo"""
_VERSIONS = """\
List the versions of the exported models, newest first: when each was made, what was measured, and which is in use.

  python -m training artifacts"""
_ROLLBACK = """\
Check the version before the current one as the service does at its start, and make it the current one. VERSION names another.

  python -m training rollback
  python -m training rollback nexttrack-20261122T081500-3fa9c1"""
_COMPARE = """\
Train recipes over several seeds, measure them and the baselines on the same cases, and print means with their spread. Rows
that are measured already are kept. Writes one JSON line for each row, and one HTML page with a section for each log.

  python -m training compare sasrec nexttrack mei sine --log logs/demo --seeds 3
  python -m training compare sasrec nexttrack --log logs/kuairand --protocol kuairand
  python -m training compare mei-random mei mei-random:loss.negatives=64 --log logs/demo"""
_BACKFILL = """\
Post the newest events of every listener of a log to a running service, so that it knows the users of an earlier system. Times
and outcomes are the log's. Sending again changes nothing, so run it again when the log has grown. A backfill that was stopped
continues where it was. It waits if the service is busy.

  python -m training backfill logs/demo --url http://127.0.0.1:8000

Of a listener the service keeps NEXTTRACK_HISTORY_EVENTS events, NEXTTRACK_LONG_HISTORY older plays and NEXTTRACK_OPINIONS
opinions. --newest should be at least the sum of the first two, and --opinions the third."""
_REPLAY = """\
Send the held-out part of a log through the running service, event by event, and ask for next tracks where the evaluation
does. Print the same metrics, and how many lists agree with the offline ones. This checks that service and trainer agree.

  python -m training replay logs/demo --url http://127.0.0.1:8000"""


if __name__ == "__main__":
    sys.exit(main())
