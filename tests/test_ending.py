"""Whatever ends a command is one sentence and an exit code; a traceback only where it is asked for."""

import errno
import os
import re
import signal
import subprocess
import sys

import pytest
from cases import PROJECT
from commands import command

from experiments import ending, interruption, recording, report
from experiments.errors import DiskFull, ExitCode, Locked, SettingsError, StoreUnavailable, is_no_room

TYPED = ("experiment=digits_mlp", "framework=numpy", "training.precision=float64", "training.epochs=1", "seed=0")


def system(number, *names):
    return OSError(number, os.strerror(number), *names)


def caused(cause):
    error = RuntimeError("a library's own words")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (SettingsError("a: b"), 2, "^a: b\n$"),
        (StoreUnavailable("at http://u:pw@h"), 3, r"^at http://u:\*\*\*@h\n$"),
        (Locked("l"), 4, "^l\n$"),
        (
            system(errno.ENOSPC, "f"),
            3,
            "^There is no room left to write in f .*; make some, and the same",
        ),
        (system(errno.EDQUOT), 3, "^There is no room left to write in outputs "),
        (caused(system(errno.EFBIG)), 3, "^There is no room left"),
        (RuntimeError("database or disk is full"), 3, "^There is no room left"),
        (system(errno.EACCES, "f"), 2, "^The system refused 'f': Permission denied; mend that, and the same command"),
        (system(errno.EIO), 3, "^The system refused: Input/output error; mend that"),
        (MemoryError(), 3, "^There is not enough memory"),
        (KeyboardInterrupt(), 130, "^\nStopped. The same command goes on where it stopped.\n$"),
        (interruption.Terminated(signal.SIGTERM), 143, "^\nStopped"),
        (interruption.Terminated(signal.SIGHUP), 129, "^\nStopped"),
    ],
)
def test_each_end_has_its_sentence_and_its_code(tmp_path, monkeypatch, capsys, error, code, told):
    monkeypatch.chdir(tmp_path)
    assert ending.end(error, output=ending.Path("outputs"), debug=False) == code
    said = capsys.readouterr().err
    assert re.search(told, said), said
    ending.end(error, output=None, debug=True)
    assert type(error).__name__ in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_full_is_not_told_so():
    assert not is_no_room(system(errno.EACCES))
    assert not is_no_room(ValueError("full of hope"))


def test_a_fault_of_ours_says_so_and_leaves_its_traceback_in_a_file(tmp_path, cache, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("at http://u:pw@h")

    monkeypatch.setattr("experiments.settings.job_from", lambda *_, **__: broken())
    done = command(*TYPED, cwd=tmp_path, cache=cache)
    assert done.returncode == ExitCode.SOME_FAILED
    told = "This is a fault of Tandem, not of what you asked for: ZeroDivisionError: at http://u:***@h in "
    assert done.stderr.startswith(told)
    assert "Traceback" not in done.stderr
    (path,) = re.findall(r"The traceback is in (\S+);", done.stderr)
    kept = ending.Path(path).read_text()
    assert "ZeroDivisionError" in kept
    assert ":pw@" not in kept
    ending.Path(path).unlink()


def test_a_traceback_outlasts_the_folder_of_a_command_that_knew_no_other(tmp_path):
    code = (
        "from experiments import ending; from experiments.execution import temporary\n"
        "temporary.use_own_folder(); ending.end(ZeroDivisionError(), output=None, debug=False)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=os.environ | {"TMPDIR": str(tmp_path)},
                          capture_output=True, text=True, check=True)  # fmt: skip
    (path,) = re.findall(r"The traceback is in (\S+);", told.stderr)
    assert "ZeroDivisionError" in ending.Path(path).read_text()
    assert list(tmp_path.iterdir()) == [ending.Path(path)]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_ends_a_command_as_a_scheduler_does_unless_it_is_ignored(number):
    code = (
        "import os, signal, sys; from experiments import ending, interruption\n"
        "if sys.argv[2:]: signal.signal(int(sys.argv[1]), signal.SIG_IGN)  # as nohup starts it\n"
        "interruption.heed_signals()\n"
        "try: os.kill(os.getpid(), int(sys.argv[1])); print('trains on')\n"
        "except interruption.Terminated as error: sys.exit(ending.end(error, output=None, debug=False))\n"
    )
    python = [sys.executable, "-c", code, str(int(number))]
    done = subprocess.run(python, cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (128 + number, "")
    assert "The same command goes on" in done.stderr
    assert subprocess.run([*python, "nohup"], cwd=PROJECT, capture_output=True, text=True).stdout == "trains on\n"


def test_a_report_that_finds_no_room_ends_with_3_and_the_same_command_makes_it(tmp_path, cache, local, monkeypatch):
    def full(*_, **__):
        raise system(errno.ENOSPC)

    with monkeypatch.context() as patch:
        patch.setattr(report.files, "write", full)
        done = command(*TYPED, cwd=tmp_path, cache=cache)
    assert done.returncode == ExitCode.SERVICE_MISSING
    assert "There is no room left to write in outputs (" in done.stderr
    assert "Traceback" not in done.stderr
    again = command(*TYPED, cwd=tmp_path, cache=cache)
    assert again.returncode == 0, again.stderr
    assert "1 of 1 run is done already" in again.stdout


def test_an_error_while_closing_does_not_hide_the_first(tmp_path, cache, local, monkeypatch, memory_store):
    def first(*_, **__):
        raise DiskFull("the first")

    def second(*_, **__):
        raise StoreUnavailable("the second")

    monkeypatch.setattr(recording.RunRecorder, "train", first)
    monkeypatch.setattr("experiments.tracking.store.Store", lambda uri, **_: memory_store)
    monkeypatch.setattr(memory_store, "kill_open_runs", second)
    done = command(*TYPED, cwd=tmp_path, cache=cache)
    assert (done.returncode, done.stderr) == (3, "the first\n")


LOST = """
import os, signal, sys, time
sys.path.insert(0, {project!r})
from experiments import ending, interruption

class Freed:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        time.sleep(0.1)

interruption.heed_signals()
interruption.send_lost_signals_again()
try:
    Freed()
    time.sleep(20)
except (KeyboardInterrupt, interruption.Terminated) as error:
    sys.exit(ending.end(error, output=None, debug=False))
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_that_comes_while_an_object_is_freed_is_heeded(name, code):
    """As SQLAlchemy's are, all the time that runs are recorded."""
    command = [sys.executable, "-c", LOST.format(project=str(PROJECT), name=name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "\nStopped. The same command goes on where it stopped.\n")


WRITES = """
import os, signal, sys, time
sys.path.insert(0, {project!r})
from experiments import ending, interruption

interruption.heed_signals()
interruption.LONGEST_WRITE_SECONDS = {longest}
try:
    with interruption.whole_write():
        with interruption.whole_write():
            os.kill(os.getpid(), signal.{name})
            time.sleep(0.3)
        print("written" if not interruption.is_stopping() else "too early")
    print("goes on")
except (KeyboardInterrupt, interruption.Terminated) as error:
    print("stops" if interruption.is_stopping() else "unknown")
    sys.exit(ending.end(error, output=None, debug=False))
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_that_comes_within_a_write_is_heeded_at_its_end(name, code):
    """In its middle, it left the database locked for the command itself: two minutes later its run was still open."""
    text = WRITES.format(project=str(PROJECT), name=name, longest=60)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (code, ["written", "stops"])


def test_a_write_that_does_not_end_is_no_reason_to_go_on():
    text = WRITES.format(project=str(PROJECT), name="SIGTERM", longest=0.1)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (143, ["stops"])
