"""How long a process waits for a core."""

import os
import subprocess
import sys
import time

import pytest

from experiments.execution import core_time

SPIN = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nprint('on', flush=True)\nwhile True: pass"


@pytest.fixture
def one_core():
    """This process on one core of its own."""
    cores = os.sched_getaffinity(0)
    core = min(cores)
    os.sched_setaffinity(0, {core})
    yield core
    os.sched_setaffinity(0, cores)


def share_of(seconds):
    """What it waits while it computes so long, by its own processor time."""
    before = core_time.by_thread()
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return core_time.waited_share(before)


@pytest.mark.skipif(not core_time.by_thread(), reason="this system does not tell how long a thread waits")
def test_it_waits_for_a_core_that_others_have(one_core):
    """Three others on its core leave it a quarter: it waits three quarters of the time; alone it need not."""
    others = [
        subprocess.Popen([sys.executable, "-c", SPIN, str(one_core)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    try:
        assert [other.stdout.readline() for other in others] == ["on\n"] * 3
        assert share_of(0.1) > 0.3
    finally:
        for other in others:
            other.kill()
            other.wait()
            other.stdout.close()


def test_nothing_is_said_where_nothing_tells(tmp_path, monkeypatch):
    monkeypatch.setattr(core_time, "THREADS", tmp_path)
    assert core_time.by_thread() == {}
    assert core_time.waited_share({}) is None


def test_threads_that_begin_and_end_are_counted_as_far_as_they_are_seen(tmp_path, monkeypatch):
    """One that went on, one that began, one that ended: 30 of 300 ns."""
    monkeypatch.setattr(core_time, "THREADS", tmp_path)
    for thread, text in {"1": "100 50 9", "2": "220 20 3"}.items():
        (tmp_path / thread).mkdir()
        (tmp_path / thread / "schedstat").write_text(text + "\n")
    (tmp_path / "3").mkdir()
    assert core_time.waited_share({"1": (50, 40), "4": (7, 7)}) == pytest.approx(30 / 300)
