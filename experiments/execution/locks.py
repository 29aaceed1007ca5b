"""Who works on what, and whether the owner is still alive; the lock under which a database in a file is made."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from experiments.errors import Locked
from experiments.execution import environment
from experiments.fingerprint import plain
from experiments.uris import sqlite_file

LOCK_SECONDS = 120.0  # a large database may be migrated meanwhile


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process, named so that a new process under the same number is not taken for it."""

    host: str
    boot: str
    pid: int
    start: str

    @classmethod
    def this_process(cls) -> Owner:
        """The process that asks."""
        pid = os.getpid()
        host = environment.facts()["host"]
        return cls(host=host, boot=environment.boot_id(), pid=pid, start=environment.process_start(pid))

    @classmethod
    def from_tag(cls, text: str, /) -> Owner:
        """Read what `tag` wrote."""
        return cls(**json.loads(text))

    @property
    def tag(self) -> str:
        """The owner as a tag's value."""
        return json.dumps(plain(self))

    def is_dead(self) -> bool:
        """Whether it can be shown to be dead from here; a process on another host is left alone."""
        if self.host != environment.facts()["host"]:
            return False
        return self.boot != environment.boot_id() or environment.process_start(self.pid) != self.start


@contextlib.contextmanager
def creation_lock(uri: str) -> Iterator[None]:
    """Hold the lock of a SQLite file while it is opened, its folder made if need be; other databases need none.

    Two processes that make the same file at the same time break each other's migrations.

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
