"""A dead owner is known, wherever it died, and a living one is left alone: real processes, really killed."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from cases import PROJECT
from commands import RUN, in_a_process, started

from experiments.errors import Locked
from experiments.execution import locks
from experiments.execution.locks import Lease, Owner, is_renewed

HOLD = (
    "import sys; from experiments.execution.locks import Owner; print(Owner.this_process(sys.argv[1]).tag, flush=True)"
)
IN_A_CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--uts", "--kill-child")
CAN_UNSHARE = subprocess.run([*IN_A_CONTAINER, "true"], capture_output=True, check=False).returncode == 0
needs_namespaces = pytest.mark.skipif(not CAN_UNSHARE, reason="this user may not make namespaces")


@pytest.fixture
def uri(tmp_path):
    return f"sqlite:///{tmp_path}/mlflow.db"


@contextmanager
def owner_of(uri, *, before=(), host=None):
    """A process that owns what lies beside a database, in a container's namespaces where `before` makes them."""
    command = [sys.executable, "-c", HOLD, uri]
    if host:
        command = ["sh", "-c", 'hostname "$0" && exec "$@"', host, *command]
    process = subprocess.Popen(
        [*before, *command], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process, Owner.from_tag(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def killed(process):
    process.kill()
    process.wait()


def test_a_living_owner_is_alive_and_a_killed_one_is_dead(uri):
    with owner_of(uri) as (process, owner):
        assert owner.pid == process.pid
        assert owner.state(uri) == "alive"
        assert dataclasses.replace(owner, mark=owner.mark + 1).state(uri) == "dead"
        killed(process)
        assert owner.state(uri) == "dead"
    own = Owner.this_process(uri)
    assert own.state(uri) == "alive"
    assert Owner.this_process(uri) == own == Owner.from_tag(own.tag)


@needs_namespaces
def test_an_owner_in_another_container_is_known_by_its_lock(uri):
    """With this host's name and a process number that is another process here, or with another name."""
    with owner_of(uri, before=IN_A_CONTAINER) as (_, owner):
        assert (owner.pid, owner.host) == (1, Owner.this_process().host)
        assert owner.state(uri) == "alive"
        assert dataclasses.replace(owner, mark=0).state(uri) == "unknown"
    with owner_of(uri, before=IN_A_CONTAINER, host="elsewhere") as (process, owner):
        assert owner.host == "elsewhere"
        assert owner.state(uri) == "alive"
        killed(process)
        wait_until(lambda: owner.state(uri) == "dead")


def wait_until(is_so):
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline, "too late"
        time.sleep(0.05)


def test_a_number_that_was_given_to_another_process_is_no_sign_of_life(uri):
    with owner_of(uri) as (_, owner):
        for without_lock in ("http://a-server", "sqlite:////proc/nowhere/mlflow.db"):
            assert owner.state(without_lock) == "alive"
            assert dataclasses.replace(owner, start="1").state(without_lock) == "dead"
            assert dataclasses.replace(owner, boot="another").state(without_lock) == "unknown"
            assert dataclasses.replace(owner, namespace="another").state(without_lock) == "unknown"


def test_a_machine_that_was_started_again_has_no_owners_from_before(uri):
    own = Owner.this_process(uri)
    before = dataclasses.replace(own, boot="another", mark=own.mark + 1)
    assert before.state(uri) == "dead"
    assert dataclasses.replace(before, host="elsewhere").state(uri) == "unknown"


def test_what_an_earlier_version_wrote_is_judged_as_it_did():
    own = Owner.this_process()
    old = Owner(host=own.host, boot=own.boot, pid=own.pid, start=own.start)
    assert old.state("sqlite:///mlflow.db") == "alive"
    assert dataclasses.replace(old, start="1").state("sqlite:///mlflow.db") == "dead"
    assert dataclasses.replace(old, boot="another").state("sqlite:///mlflow.db") == "dead"
    assert dataclasses.replace(old, host="elsewhere").state("sqlite:///mlflow.db") == "unknown"


def test_a_lease_is_renewed_until_it_ends_or_is_taken(monkeypatch):
    monkeypatch.setattr(locks, "RENEWAL_SECONDS", 0.01)
    own = Owner.this_process()
    other = dataclasses.replace(own, pid=7, host="elsewhere")
    told, in_charge = [], [own.tag]

    def renew(now):
        told.append(now)
        if len(told) == 2:
            raise OSError("the database is busy")
        return in_charge[0]

    lease = Lease(renew, owner=own)
    wait_until(lambda: len(told) > 3)  # one that failed is not the last
    lease.require("this sweep")
    in_charge[0] = other.tag
    wait_until(lambda: not any(each.name == "lease" for each in threading.enumerate()))
    with pytest.raises(Locked, match="process 7 on elsewhere took over this sweep"):
        lease.require("this sweep")


def test_a_lease_is_watched_and_no_clock_believed(monkeypatch, capsys):
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.3)
    beats = iter(range(100))
    assert is_renewed(lambda: str(time.time() + next(beats)), what="it is open")
    for minutes in (-600, 0, 600):  # its clock goes wrong, it is dead
        last = str(time.time() + 60 * minutes)
        assert not is_renewed(lambda last=last: last, what="it is open")
    assert "Waiting for a sign of life, for 0 s at most: it is open." in capsys.readouterr().err
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waited"))
    assert not is_renewed(lambda: "0.0", what="it is open")  # half a century ago
    assert capsys.readouterr().err == ""


LONG = ("experiment=digits_mlp", "framework=numpy", "training.precision=float64", "training.epochs=3000", "seed=0",
        "training.evaluate_every=20")  # fmt: skip


@pytest.mark.slow
@needs_namespaces
def test_a_command_in_another_container_leaves_a_living_one_alone_and_takes_over_from_a_dead_one(tmp_path, cache):
    def in_a_container(host):
        return subprocess.run(
            [*IN_A_CONTAINER, "sh", "-c", 'hostname "$0" && exec "$@"', host, sys.executable, RUN, *LONG],
            cwd=tmp_path, env=os.environ | {"TANDEM_CACHE": str(cache)}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    with started(*LONG, cwd=tmp_path, cache=cache) as running:
        while not list(tmp_path.glob("outputs/*/*/runs/*/worker.log")):
            assert running.poll() is None
            time.sleep(0.2)
        beside = in_a_container(Owner.this_process().host)
        assert beside.returncode == 4, beside.stderr
        assert f"process {running.pid} on {Owner.this_process().host} is at work on this sweep" in beside.stderr
        assert running.poll() is None
        running.send_signal(signal.SIGKILL)
        running.wait()
    after = in_a_container("elsewhere")
    assert after.returncode == 0, after.stderr
    assert "Closed 2 runs that a dead process left open" in after.stdout
    again = in_a_process(*LONG, cwd=tmp_path, cache=cache)
    assert "1 of 1 run is done already" in again.stdout
