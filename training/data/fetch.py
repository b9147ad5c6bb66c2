"""Copies logs from object stores and other remote places: any URL that fsspec knows (s3://, gs://, az://, hf://, memory://, …).

The files of a URL are copied one by one, with their folders, to a temporary folder beside the new log. From there they are read
like local files. So every format can be read from everywhere, each byte is transferred once, and memory stays bounded. The
price is disk space for the copies. The store's driver handles credentials.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec

from training.data.log import LogError

_MAGIC = "*?["


def fetch(paths: Sequence[str], into: Path) -> dict[str, str]:
    """Copy what the URLs name under `into`. Returns local paths in the order of `paths`, each with its path or URL.

    LogError if a URL's driver is not installed, if the store refuses, or if nothing is found.
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
    except Exception as error:  # every store's driver has its own exceptions
        raise LogError(f"{path} cannot be fetched: {type(error).__name__}: {error}") from error


def _copy(url: str, into: Path) -> tuple[str, str]:
    """Copy a URL. Returns the local file or folder, and its place in the store."""
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
