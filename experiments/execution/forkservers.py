"""The processes that workers are forked from: one, and one more for each framework that needs other variables.

What a framework reads while it is imported, such as the library that it is to compute with, holds for its process and
all that are forked from it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from multiprocessing import forkserver

from experiments.contract import FrameworkSpec


@dataclass(kw_only=True)
class Group:
    """Modules that can be imported into one process, and the variables that they must find."""

    variables: dict[str, str] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Server:
    variables: Mapping[str, str]
    process: forkserver.ForkServer


_started: list[_Server] = []  # of this process, whichever executor asked for them


def groups(specs: Iterable[FrameworkSpec]) -> list[Group]:
    """As few as their variables allow: one, also of no framework, where none contradicts another."""
    found: list[Group] = [Group()]
    for spec in specs:
        group = next((each for each in found if not _contradict(each.variables, spec.environment)), None)
        if group is None:
            group = Group()
            found.append(group)
        group.variables.update(spec.environment)
        group.modules.append(spec.module)
    return found


def _contradict(some: Mapping[str, str], others: Mapping[str, str]) -> bool:
    return any(some.get(name, value) != value for name, value in others.items())


def start(group: Group, *, preload: Iterable[str], in_force: Callable[..., AbstractContextManager[None]]) -> None:
    """Start the server of a group, unless one runs that has its variables; start it again where it has died.

    Args:
        group: Whose modules it imports.
        preload: What it imports before them.
        in_force: Makes this process's environment the workers', with the variables that it is given.
    """
    server = _with(group.variables)
    if server is None:
        # multiprocessing's own is the first, so that it is not left without work beside another.
        process = forkserver.ForkServer() if _started else forkserver._forkserver
        process.set_forkserver_preload([*preload, *group.modules])
        server = _Server(variables=dict(group.variables), process=process)
        _started.append(server)
    with in_force(**server.variables):  # all of the server's: whoever finds it dead next may need fewer
        server.process.ensure_running()


def _with(variables: Mapping[str, str]) -> _Server | None:
    return next((each for each in _started if variables.items() <= each.variables.items()), None)


@contextlib.contextmanager
def serving(variables: Mapping[str, str]) -> Iterator[None]:
    """Within it, processes are forked from the started server that has the variables; multiprocessing asks one only."""
    server, own = _with(variables), forkserver.connect_to_new_process
    if server is None:
        raise LookupError(f"no forkserver with {dict(variables)} was started")
    try:
        forkserver.connect_to_new_process = server.process.connect_to_new_process
        yield
    finally:
        forkserver.connect_to_new_process = own
