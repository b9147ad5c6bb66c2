"""What `artifacts` and `rollback` do, from parsed options to printed results. They need neither a log nor torch."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from model.artifact import ArtifactError, Manifest, load
from model.graphs import Graphs
from model.versions import CURRENT, Version, switch, version_before, versions

_SHOWN = (("HR@20", "hr@20"), ("NDCG@10", "ndcg@10"))


def artifacts(options: argparse.Namespace, console: Console) -> None:
    """`artifacts`: list the versions, newest first, and the links that name them."""
    known = _known(options.out)
    table = Table(title=f"Artifacts in {escape(str(options.out))}", title_justify="left", box=SIMPLE_HEAD, header_style="bold")
    for name in ("version", "created", *(label for label, _ in _SHOWN), "tracks", "size", "in use as"):
        table.add_column(name, justify="left" if name in ("version", "created", "in use as") else "right", overflow="fold")
    for one in known:
        table.add_row(escape(one.folder.name), *map(escape, _cells(one)), ", ".join(one.links))
    table.width = console.measure(table, options=console.options.update(width=1_000)).maximum
    console.print(table, crop=False)  # a wrapped line can be read, a truncated figure cannot
    for one in known:
        if one.fault:
            console.print(f"[red]{escape(one.fault)}[/red]", highlight=False, soft_wrap=True)


def rollback(options: argparse.Namespace, console: Console) -> None:
    """`rollback`: check an older version as the service would, then point `current` at it."""
    known = _known(options.out)
    before = next((one.folder.name for one in known if CURRENT in one.links), "nothing")
    chosen = _named(known, options.version, options.out) if options.version else version_before(options.out)
    Graphs(load(chosen.folder), threads=1)
    switch(options.out, chosen.folder.name)
    console.print(
        f"{options.out / CURRENT} pointed to {before} and now points to {chosen.folder.name}", markup=False, soft_wrap=True
    )


def _known(root: Path) -> Sequence[Version]:
    found = versions(root) if root.is_dir() else []
    if not found:
        raise ArtifactError(f"found no artifacts in {root}; `python -m training run LOG` makes one")
    return found


def _named(known: Sequence[Version], name: str, root: Path) -> Version:
    for one in known:
        if one.folder.name == name:
            return one
    raise ArtifactError(f"found no version {name} in {root}; the versions are {', '.join(one.folder.name for one in known)}")


def _cells(one: Version) -> list[str]:
    manifest = one.manifest
    if manifest is None:
        return ["cannot be read", *("" for _ in _SHOWN), "", ""]
    figures = [_figure(manifest, key) for _, key in _SHOWN]
    return [f"{manifest.created_at:%Y-%m-%d %H:%M}", *figures, f"{manifest.tracks:,}", _size(one.bytes)]


def _figure(manifest: Manifest, key: str) -> str:
    """Return a measured value as the report shows it, or an empty text if it was not measured."""
    values = manifest.quality.get("values")
    value = values.get(key) if isinstance(values, dict) else None
    return f"{value:.4f}" if isinstance(value, float) else ""


def _size(size: float) -> str:
    """Return a size in bytes as people read it."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
