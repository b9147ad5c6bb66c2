"""Logs on object stores and other remote places: any URL that fsspec knows (s3://, gs://, az://, hf://, memory://, …).

What a URL names is copied, file by file, to a scratch folder beside the log that is written, partition folders and all, and
read from there like any local file: so every format can be read from everywhere, each byte travels once, and memory stays
bounded. The price is room on disk for the files as they are. A store's driver and its credentials are fsspec's matter.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec

from training.data.log import LogError

_MAGIC = "*?["


def fetch(paths: Sequence[str], into: Path) -> dict[str, str]:
    """Local paths in the place of `paths`, each with the path or URL that it stands for. URLs are copied under `into`.

    LogError where a URL's driver is not installed, where the store refuses, or where nothing is found.
    """
    return dict(_fetched(path, into / str(number)) for number, path in enumerate(paths))


def _fetched(path: str, into: Path) -> tuple[str, str]:
    if "://" not in path:
        return path, path
    if path.startswith("file://"):
        return path.removeprefix("file://"), path
    try:
        return _copy(path, into)
    except LogError:
        raise
    except ImportError as error:  # fsspec says which package to install
        raise LogError(f"{path} wants a driver that is not installed: {error}") from error
    except Exception as error:  # every store's driver has errors of its own
        raise LogError(f"{path} cannot be fetched: {type(error).__name__}: {error}") from error


def _copy(url: str, into: Path) -> tuple[str, str]:
    """The local file or folder that `url` became; and where that stands in the store."""
    store, place = fsspec.core.url_to_fs(url)
    protocol = url.partition("://")[0]
    if store.isfile(place):
        target = into / Path(place).name
        _get(store, place, target)
        return str(target), url
    magic = min((place.index(sign) for sign in _MAGIC if sign in place), default=None)
    root = place.rstrip("/") if magic is None else place[:magic].rpartition("/")[0]
    names = store.find(root) if magic is None else [name for name in store.glob(place) if store.isfile(name)]
    if not names:
        raise LogError(f"{url}: found no file there")
    for name in names:
        _get(store, name, into / name.removeprefix(root).lstrip("/"))
    return str(into), f"{protocol}://{root.lstrip('/')}"


def _get(store: Any, name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    store.get_file(name, str(target))
