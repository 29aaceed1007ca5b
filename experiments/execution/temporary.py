"""One folder for all that a command and its workers put down for a while; gone when it ends, whatever it dies of.

After kill -9 a worker that sees its parent die removes it, or else the next command.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import sys
import tempfile
from multiprocessing import util
from pathlib import Path

from experiments.errors import SettingsError

PREFIX = "tandem-"
SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107  # sockaddr_un holds one more, for the final zero
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
AFTER_MULTIPROCESSING = -200  # which removes its own folder at -100


def use_own_folder() -> None:
    """Have this process and its workers put temporary files into a folder of their own; remove those of the dead."""
    with contextlib.suppress(OSError):  # what cannot be written is said once there is something to write
        tempfile.tempdir = os.environ["TMPDIR"] = str(_make(Path(tempfile.gettempdir())))


def outlasting() -> Path:
    """Where this process' own folder lies: what is put there stays when it ends."""
    own = Path(tempfile.gettempdir())
    return own.parent if own.name.startswith(PREFIX) else own


@functools.cache  # as multiprocessing, which asks for its folder once
def make_folder_for_sockets() -> None:
    """Make the folder of the forkserver's socket elsewhere, where $TMPDIR is too long for the address of one.

    Raises:
        SettingsError: If there is no other place.
    """
    stated = tempfile.gettempdir()
    if len(os.fsencode(stated)) + len("/pymp-12345678/listener-12345678") <= SOCKET_PATH_BYTES:
        return
    for folder in filter(os.path.isdir, SHORT_FOLDERS):
        try:
            tempfile.tempdir = str(_make(Path(folder)))
            util.get_temp_dir()  # makes it once, and has it removed at the end
            return
        except OSError:
            continue
        finally:
            tempfile.tempdir = stated
    raise SettingsError(f"`TMPDIR` must be short, since sockets lie in it, but got {stated!r}; set TMPDIR=/tmp")


def _make(parent: Path) -> Path:
    """A new folder that this process holds, by a lock that ends with it, and removes when it ends."""
    for dead in parent.glob(f"{PREFIX}*"):
        remove_if_dead(dead)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        held = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # a command that began beside this one takes it for one of the dead
            os.close(held)
            continue
        except OSError:  # no locks here: nobody else will remove it
            break
        if folder.exists():
            break
    util.Finalize(
        None, shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}, exitpriority=AFTER_MULTIPROCESSING
    )
    return folder


def remove_if_dead(folder: Path) -> None:
    """Remove a folder that a dead process of this user left behind; leave any other alone."""
    with contextlib.suppress(OSError):
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if folder.name.startswith(PREFIX) and os.fstat(held).st_uid == os.getuid():
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(held)
