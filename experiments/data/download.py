"""Downloads: checked by their hash, whole or not there at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from experiments.errors import DiskFull, is_no_room, notice

DOWNLOAD_TIMEOUT_SECONDS = 10


def download(url: str, files: Mapping[str, str], folder: Path, /) -> None:
    """Fetch `files` (name -> hash, "md5:..." or SHA-256) from `url` into `folder`, with a progress bar.

    pooch writes to a temporary name, checks the hash, then renames: a file that is there is whole.

    Raises:
        DiskFull: If there is no room for it.
        OSError: If the server cannot be reached (requests' errors are OSErrors).
        ValueError: If what arrived does not have the stated hash.
    """
    import pooch

    fetch = pooch.HTTPDownloader(progressbar=True, timeout=DOWNLOAD_TIMEOUT_SECONDS)
    for name, known in files.items():
        stated = known if ":" in known else f"sha256:{known}"
        try:
            pooch.retrieve(url + name, known_hash=stated, fname=name, path=folder, downloader=fetch)
        except OSError as error:
            if is_no_room(error):
                raise DiskFull.because_of(error, place=folder) from error
            raise


def has_all(folder: Path, files: Mapping[str, str]) -> bool:
    """Whether all `files` are in `folder`."""
    return all((folder / name).is_file() for name in files)


def archive(
    title: str, *, url: str, files: Mapping[str, str], folder: Path, path: str | None, may_download: bool
) -> Path:
    """The one file of a source that cannot do without it: given, in the cache, or downloaded.

    Args:
        title: The source's name as a person says it.
        url: Folder of the server.
        files: The file's name and its hash.
        folder: Where it lies in the cache, or is to lie.
        path: Where a person says that it is; null: nowhere.
        may_download: Whether to try the network.

    Raises:
        ValueError: If it is not to be had; says what to do.
    """
    (name,) = files
    where = f"set data.path to {name}, or put it into {folder}"
    if path is not None:
        if not Path(path).expanduser().is_file():
            raise ValueError(f"`data.path` must be the file {name}, but {path!r} is none; give an existing file")
        return Path(path).expanduser()
    if has_all(folder, files):
        return folder / name
    if not may_download:
        raise ValueError(f"`data.download` is off and no {title} was found; {where}")
    try:
        download(url, files, folder)
    except OSError as error:
        raise ValueError(f"{title} could not be downloaded ({type(error).__name__}); {where}") from error
    return folder / name


def cache_folder(*, otherwise: Path) -> Path:
    """Where downloads and prepared arrays are kept: $TANDEM_CACHE, else the user's cache folder.

    A user without a home folder, or with one that cannot be written, has them in `otherwise`; that is said.
    """
    stated = os.environ.get("TANDEM_CACHE")
    if stated:
        return Path(stated)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = Path(base).expanduser() / "tandem"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
        reason = f"{folder} cannot be written"
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        reason = str(error)
    notice(f"Data are kept in {otherwise}: {reason.rstrip('.')}; TANDEM_CACHE=FOLDER names another.")
    return otherwise
