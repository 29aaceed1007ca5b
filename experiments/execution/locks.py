"""Who works on what, and whether the owner is still alive; the lock under which a database in a file is made.

Beside a database in a file the kernel tells: every command holds one byte of the file `*.owners` for as long as it
lives, which works over process namespaces and host names, and ends with the process, whatever it dies of. Where there
is no such file (a server, a file system without locks), an owner renews a lease.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.errors import Locked, notice
from experiments.execution import environment
from experiments.fingerprint import plain
from experiments.uris import sqlite_file

LOCK_SECONDS = 120.0  # a large database may be migrated meanwhile
RENEWAL_SECONDS = 10.0  # one small write, beside those of every epoch
LEASE_SECONDS = 60.0  # five renewals may be late: a database that is busy waits up to 20 s, a server is restarted
CLOCKS_DIFFER_SECONDS = 86_400.0  # between two hosts: more than a wrong time zone; what is older than this is dead

_own_bytes: dict[tuple[int, Path], tuple[int, int]] = {}  # (process, file) -> (descriptor, byte), open until its end


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process, named so that a new process under the same number is not taken for it.

    `namespace` is the one its number counts in, `mark` the byte that it holds in the file beside its database; 0 where
    there is none.
    """

    host: str
    boot: str
    pid: int
    start: str
    namespace: str = ""
    mark: int = 0

    @classmethod
    def this_process(cls, uri: str = "") -> Owner:
        """The process that asks, with its mark beside the database at `uri`."""
        pid = os.getpid()
        return cls(
            host=socket.gethostname(),
            boot=environment.boot_id(),
            pid=pid,
            start=environment.process_start(pid),
            namespace=environment.process_namespace(),
            mark=_own_mark(uri),
        )

    @classmethod
    def from_tag(cls, text: str, /) -> Owner:
        """Read what `tag` wrote."""
        return cls(**json.loads(text))

    @property
    def tag(self) -> str:
        """The owner as a tag's value."""
        return json.dumps(plain(self))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def state(self, uri: str, /) -> Literal["alive", "dead", "unknown"]:
        """What can be shown of it from here, beside the database at `uri`; "unknown" leaves it to its lease."""
        here = Owner.this_process()
        is_held = _is_held(uri, self.mark) if self.mark else None
        if is_held:
            return "alive"
        if is_held is not None and (self.boot == here.boot or self.host == here.host):
            return "dead"
        if self.namespace:  # the number means the same process here only within one namespace of one boot
            is_comparable = (self.boot, self.namespace) == (here.boot, here.namespace)
        else:  # a tag of an earlier version
            is_comparable = self.host == here.host
        if not is_comparable:
            return "unknown"
        is_alive = self.boot == here.boot and environment.process_start(self.pid) == self.start
        return "alive" if is_alive else "dead"


class Lease:
    """Says every few seconds, in the background, that its owner lives, and learns when another one has taken over."""

    def __init__(self, renew: Callable[[str], str], /, *, owner: Owner) -> None:
        """Begin.

        Args:
            renew: Writes down the time that it is given, and returns the tag of the owner that stands there.
            owner: Who renews it.
        """
        self.owner = owner
        self._taken: list[str] = []
        self._stop = threading.Event()
        weakref.finalize(self, self._stop.set)
        threading.Thread(
            target=_renew, args=(renew, owner.tag, self._stop, self._taken), name="lease", daemon=True
        ).start()

    def require(self, what: str) -> None:
        """Raise Locked if another process has taken over `what`."""
        if self._taken:
            raise Locked(f"{Owner.from_tag(self._taken[0])} took over {what}: this process did not answer in time")

    def end(self) -> None:
        """Renew it no more."""
        self._stop.set()


def _renew(renew: Callable[[str], str], own: str, stop: threading.Event, taken: list[str]) -> None:
    while not stop.wait(RENEWAL_SECONDS):
        with contextlib.suppress(Exception):  # what fails now is tried again, and said by whoever writes results
            tag = renew(now())
            if tag != own:
                taken.append(tag)
                return


def now() -> str:
    """The time of a renewal."""
    return f"{time.time():.3f}"


def is_long_ago(renewed: str, /) -> bool:
    """Whether a lease was renewed so long ago that its owner is dead by any clock; not where it is not known."""
    return bool(renewed) and time.time() - float(renewed) > CLOCKS_DIFFER_SECONDS


def is_renewed(read: Callable[[], str], /, *, what: str) -> bool:
    """Watch a lease for as long as its owner may be silent: no clock of another host is believed.

    `read` says when it was renewed, `what` names owner and thing in a sentence for the person who waits.
    """
    first = read()
    if not is_long_ago(first):
        notice(f"Waiting for a sign of life, for {LEASE_SECONDS:.0f} s at most: {what}.")
    deadline = time.monotonic() + LEASE_SECONDS
    while not is_long_ago(first) and time.monotonic() < deadline:
        time.sleep(min(1.0, LEASE_SECONDS / 10))
        if read() != first:
            return True
    return False


@contextlib.contextmanager
def creation_lock(uri: str) -> Iterator[None]:
    """Hold the lock of a SQLite file while it is opened, its folder made if need be; other databases need none.

    Two processes that make the same file at the same time break each other's migrations, and two that look for a sweep
    at the same time both begin it.

    Raises:
        Locked: If another process holds it for longer than opening takes.
    """
    path = sqlite_file(uri)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _is_taken(lock.fileno()):
            if time.monotonic() > deadline:
                raise Locked(
                    f"another process has been opening {path} for {LOCK_SECONDS:.0f} s; end it, or wait for it"
                )
            time.sleep(0.05)
        yield


def _is_taken(descriptor: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _own_mark(uri: str) -> int:
    """The byte that this process holds beside a database; 0 where none can be held."""
    path = sqlite_file(uri)
    if path is None:
        return 0
    key = (os.getpid(), path)
    if key not in _own_bytes:
        mark = 1 + secrets.randbelow(2**62)
        with contextlib.suppress(OSError):
            descriptor = os.open(f"{key[1]}.owners", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            # A lock of this kind ends when the process closes any descriptor of the file: this one is never closed.
            _own_bytes[key] = (descriptor, mark)
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, mark)
            return mark
        _own_bytes[key] = (_own_bytes.get(key, (-1, 0))[0], 0)
    return _own_bytes[key][1]


def _is_held(uri: str, mark: int) -> bool | None:
    """Whether a living process holds that byte beside the database; None where it cannot be told."""
    path, own = sqlite_file(uri), _own_mark(uri)
    if path is None or not own:
        return None
    if mark == own:
        return True
    descriptor, _ = _own_bytes[(os.getpid(), path)]
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, mark)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: another process has it
        return True
    except OSError:
        return None
    fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, mark)
    return False
