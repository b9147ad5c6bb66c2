"""What the commands do that talk to a running service."""

import argparse

from rich.console import Console

from training.backfilling.backfill import backfill
from training.backfilling.newest_events import Wanted
from training.data.log import open_log
from training.running_service import key_of


def backfill_(options: argparse.Namespace, console: Console) -> None:
    """Execute `backfill`: post the newest events of every listener to a running service."""
    backfill(
        open_log(options.log),
        options.url,
        wanted=Wanted(events=options.newest, opinions=options.opinions),
        key=key_of(options.key_file),
        console=console,
    )


def replay_(options: argparse.Namespace, console: Console) -> None:
    """Execute `replay`: send the held-out part of a log through a running service, and compare the answers."""
    from training.replaying.replay import replay  # noqa: PLC0415 (it loads torch, which a backfill does not need)

    replay(
        open_log(options.log),
        options.artifact,
        options.url,
        listeners=options.listeners,
        at_once=options.at_once,
        prefix=options.prefix,
        key=key_of(options.key_file),
        console=console,
    )
