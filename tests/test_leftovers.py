"""Nothing is left of a command, however it ended: no temporary folder, no socket, no shared memory, no process."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import started
from conftest import EXECUTOR
from worker_calls import sleep

from experiments.execution import temporary
from experiments.execution.executor import LocalExecutor, WorkItem

REFEREE = ("experiment=digits_mlp", "framework=numpy", "training.precision=float64", "seed=0")
BOTH = ("experiment=digits_mlp", "framework=lightning,keras", "seed=0", "executor.workers=2")
SEVERAL_DEVICES = ("experiment=digits_mlp", "framework=lightning", "seed=0", "executor.devices=2",
                   "data.validation_fraction=0.101")  # fmt: skip
FOR_EVER = ("training.epochs=1000000", "training.evaluate_every=1000000")


@pytest.fixture
def room(tmp_path, monkeypatch):
    """An empty folder for temporary files; what stands in its environment is a process of this test's."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def processes(room):
    """Those that were started with `room` in their environment, or with a folder in it."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={room}".encode() in (path / "environ").read_bytes() and int(path.name) != os.getpid():
                found[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it ended meanwhile
    return found


def left_in(room):
    return sorted(str(path.relative_to(room)) for path in room.rglob("*"))


def shared_memory():
    return set(Path("/dev/shm").iterdir())


def nothing_more_than(shared):
    """Whether no shared memory was left since: what a living process has is another test's, or a neighbour's."""
    new = {str(path) for path in shared_memory() - shared}
    return all(map(is_used, new))


def is_used(name):
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if name in (process / "maps").read_text() or any(
                str(each.readlink()) == name for each in (process / "fd").iterdir()
            ):
                return True
    return False


def wait_until(is_so, *, seconds):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "too late"
        time.sleep(0.05)


def logs_in(folder):
    return list(folder.glob("outputs/*/*/runs/*/worker.log"))


def end_in_mid_run(*arguments, cwd, cache, room, signals):
    """Start the command, send it the signals once every worker trains, return its exit code."""
    n_workers = 2 if "executor.workers=2" in arguments else 1
    with started(*arguments, *FOR_EVER, cwd=cwd, cache=cache) as running:
        wait_until(lambda: len(logs_in(cwd)) == n_workers or running.poll() is not None, seconds=300)
        time.sleep(2)
        assert len(processes(room)) >= 3 + n_workers  # it, its resource tracker, its forkserver
        for number in signals:
            running.send_signal(number)
            time.sleep(0.1)
        running.wait()
    return running.returncode


@pytest.mark.slow
def test_a_command_that_was_killed_takes_its_workers_with_it_and_the_next_one_leaves_nothing(tmp_path, cache, room):
    shared = shared_memory()
    code = end_in_mid_run(*REFEREE, cwd=tmp_path, cache=cache, room=room, signals=[signal.SIGKILL])
    assert code == -signal.SIGKILL
    wait_until(lambda: not processes(room), seconds=120)  # nobody trains on
    with started("seed=-1", cwd=tmp_path, cache=cache) as following:
        assert following.wait() == 2
    assert left_in(room) == []
    wait_until(lambda: nothing_more_than(shared), seconds=120)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "signals", "code"),
    [
        (BOTH, [signal.SIGINT], 130),
        (BOTH, [signal.SIGTERM], 143),
        (BOTH, [signal.SIGKILL], -9),
        (REFEREE, [signal.SIGINT, signal.SIGINT], 130),
        (SEVERAL_DEVICES, [signal.SIGKILL], -9),
    ],
    ids=["Ctrl-C", "SIGTERM", "kill -9", "Ctrl-C twice", "kill -9 with several devices"],
)
def test_nothing_is_left_whatever_ends_a_command(tmp_path, cache, room, typed, signals, code):
    shared = shared_memory()
    assert end_in_mid_run(*typed, cwd=tmp_path, cache=cache, room=room, signals=signals) in (code, -signals[-1])
    wait_until(lambda: not processes(room), seconds=120)
    if signals == [signal.SIGKILL]:
        with started("seed=-1", cwd=tmp_path, cache=cache) as following:
            following.wait()
    assert left_in(room) == []
    wait_until(lambda: nothing_more_than(shared), seconds=120)


@pytest.mark.slow
def test_both_frameworks_leave_nothing_when_all_is_well(tmp_path, cache, room):
    shared = shared_memory()
    with started(*BOTH, "training.epochs=1", cwd=tmp_path, cache=cache) as running:
        assert running.wait() == 0
    wait_until(lambda: not processes(room), seconds=120)
    assert left_in(room) == []
    wait_until(lambda: nothing_more_than(shared), seconds=120)


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_worker_ends_with_its_parent(tmp_path, method):
    """Though its main thread would wait for an hour, and its time limit was the parent's."""
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from test_leftovers import worker_for_an_hour
if __name__ == "__main__":
    worker_for_an_hour(Path({str(tmp_path)!r}), {method!r})
"""
    (tmp_path / "parent.py").write_text(code)
    with subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        os.kill(worker, 0)
        parent.kill()
    wait_until(lambda: not is_running(worker), seconds=120)


def worker_for_an_hour(folder, method):
    settings = dataclasses.replace(EXECUTOR, start_method=method)
    executor = LocalExecutor(settings=settings, device="cpu", frameworks={}, folder=folder)
    for _, event in executor.run([WorkItem(target=sleep, arguments=(3600,), log=folder / "worker.log")]):
        print(event, flush=True)  # noqa: T201 (its process number)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_folders_of_the_living_and_of_others_are_left_alone(tmp_path):
    dead, other = tmp_path / "tandem-dead", tmp_path / "something else"
    for folder in (dead, other):
        (folder / "deep").mkdir(parents=True)
    (tmp_path / "tandem-link").symlink_to(other)
    living = temporary._make(tmp_path)
    (living / "file").touch()
    for folder in tmp_path.iterdir():
        temporary.remove_if_dead(folder)
    assert {path.name for path in tmp_path.iterdir()} == {other.name, "tandem-link", living.name}
    assert (living / "file").exists()
    assert (other / "deep").exists()


@pytest.mark.slow
def test_a_worker_that_a_scheduler_ends_is_lost_to_the_machine(tmp_path, cache):
    """Frameworks keep handlers of their own for SIGTERM; the run is not the method's failure."""
    with started(
        "experiment=digits_mlp", "framework=lightning", "seed=0", *FOR_EVER[:1], cwd=tmp_path, cache=cache
    ) as running:
        wait_until(lambda: logs_in(tmp_path), seconds=300)
        time.sleep(5)
        (worker,) = [each for each in descendants(running.pid) if is_worker(each)]
        os.kill(worker, signal.SIGTERM)
        out, _ = running.communicate()
    assert running.returncode == 1
    assert "the worker was killed by SIGTERM" in out


def descendants(pid):
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *descendants(int(child))]
    return found


def is_worker(pid):
    return not descendants(pid) and "forkserver" in Path(f"/proc/{pid}/cmdline").read_text()
