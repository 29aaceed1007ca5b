"""The screen while a command works: phases named in order and gone when they are over, how long the rest may take."""

from __future__ import annotations

import io
import os
import pty
import re
import shutil
import sys
from types import SimpleNamespace

import pytest
from commands import command, refuse_to_start
from rich.console import Console

import run
from experiments import words
from experiments.execution import own_process
from experiments.execution.estimate import Estimate, arm_of
from experiments.execution.executor import LocalExecutor
from experiments.execution.progress import Display
from experiments.phases import phase

TYPED = ("experiment=digits_mlp", "framework=numpy", "training.precision=float64", "training.epochs=1", "seed=0")


def plain_console():
    return Console(file=io.StringIO(), width=80, _environ={})


@pytest.fixture
def terminal():
    """A console on a pseudo terminal of 80 columns; `left()` is all that was written there, once it is closed."""
    reader, writer = pty.openpty()
    file = os.fdopen(writer, "w")
    console = Console(file=file, width=80, _environ={"TERM": "xterm-256color"})
    assert console.is_interactive

    def left():
        file.close()
        written = b""
        try:
            while part := os.read(reader, 65536):
                written += part
        except OSError:  # nobody writes there any more
            pass
        return re.sub(r"\x1b\[[0-9;]*m", "", written.decode())  # without colours

    yield SimpleNamespace(console=console, left=left)
    os.close(reader)


def screen_after(written: str) -> list[str]:
    """What a terminal shows in the end: it goes by returns, new lines, cursor up and erased lines."""
    rows, row, column = [""], 0, 0
    for sign in re.findall(r"\x1b\[[0-9;?]*[a-zA-Z]|[\r\n]|[^\x1b\r\n]+", written):
        if sign == "\r":
            column = 0
        elif sign == "\n":
            row, column = row + 1, 0
            rows += [""] * (row + 1 - len(rows))
        elif sign == "\x1b[2K":
            rows[row] = ""
        elif up := re.fullmatch(r"\x1b\[(\d*)A", sign):
            row -= int(up[1] or 1)
        elif not sign.startswith("\x1b"):
            rows[row] = rows[row][:column].ljust(column) + sign + rows[row][column + len(sign) :]
            column += len(sign)
    return [line.rstrip() for line in rows if line.strip()]


# A phase


def test_a_phase_is_a_line_where_there_is_no_terminal():
    console = plain_console()
    with phase("Reading the data", console=console) as tell:
        tell("1 of 2")
        console.print("a line")
        with phase("[b]Opening", console=console):
            pass
    assert console.file.getvalue() == "Reading the data ...\na line\n[b]Opening ...\n"


def test_phases_on_a_terminal_are_named_and_leave_nothing(terminal):
    console = terminal.console
    with phase("Reading the data", console=console):
        console.print("a line")
    with phase("Certifying [x]", console=console) as tell:
        tell("C4 keras")
        console.print("another")
    written = terminal.left()
    named = re.findall(r"[-\\|/] (.*?) \.\.\.", written)
    assert list(dict.fromkeys(named)) == ["Reading the data", "Certifying [x]: C4 keras"]
    assert screen_after(written) == ["a line", "another"]
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")  # the cursor is there again


def test_a_phase_is_one_line_however_much_there_is_to_tell(terminal):
    with phase("Certifying fashion_mnist_resnet, C0 to C6", console=terminal.console) as tell:
        tell(f"10 of 12, {', '.join(['C0 C1 C3 lightning'] * 9)}")
    written = terminal.left()
    assert "C0 C1 C3 lightning, C0" in written
    assert written.count("\n") == 1  # once it is over


def test_phases_go_together_with_each_other_and_with_bars(terminal):
    console = terminal.console
    with phase("outer", console=console), Display(console, arms=[("numpy", "")], n_workers=1) as display:
        with phase("inner", console=console):
            console.print("a line")
            display.progress.refresh()
        display.progress.refresh()
        console.print("another")
    written = terminal.left()
    shown = written[written.index("a line") :]
    assert shown.index("outer ...") < shown.index("runs") < shown.index("inner ...")
    assert "inner" not in shown[shown.index("another") :]
    assert screen_after(written) == ["a line", "another"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_phase_ends_however_it_ends(terminal, error):
    stdout, during = sys.stdout, []

    def fail():
        with phase("Opening", console=terminal.console):
            during.append(sys.stdout)
            raise error

    with pytest.raises(error):
        fail()
    assert during != [stdout]  # what others print goes above the line
    assert sys.stdout is stdout
    written = terminal.left()
    assert screen_after(written) == []
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("place", ["/dev/full", "a pipe"])
def test_a_stream_that_cannot_be_written_ends_no_phase(place, is_terminal):
    if place == "a pipe":
        reader, number = os.pipe()
        os.close(reader)
    else:
        number = os.open(place, os.O_WRONLY)
    text = open(number, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    with own_process._Patient.around(text, errors="replace") as stream:
        console = Console(file=stream, force_terminal=is_terminal, _environ={"TERM": "xterm"})
        for _ in range(3):
            with phase("Opening", console=console) as tell:
                tell("1 of 2")
                console.print("a line")
        with Display(console, arms=[("numpy", "")], n_workers=1):
            console.print("a line")


# A command


def test_a_command_names_its_phases_and_one_that_is_done_starts_no_worker(local, tmp_path, cache, empty_database):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    phases = re.compile(r"^(\w.*) \.\.\.$", re.MULTILINE)
    before = ["Reading the data", "Opening the store", "Looking for finished runs"]
    after = ["Reading the runs back", "Drawing the report", "Keeping the report in the store"]
    for kept in cache.glob("prepared/*.baselines.json"):  # of another test
        kept.unlink()
    first = command(*TYPED, cwd=tmp_path, cache=cache)
    before.insert(2, "Scoring the baselines")
    assert phases.findall(first.stdout) == [*before, "Starting numpy", *after]
    del before[2]
    with pytest.MonkeyPatch.context() as patch:
        refuse_to_start(patch)
        again = command(*TYPED, cwd=tmp_path, cache=cache)
    assert (again.returncode, again.stderr) == (0, "")
    assert phases.findall(again.stdout) == [*before, *after]
    assert "1 of 1 run is done already (tracking.reuse=false trains it again)." in again.stdout


class Opened(BaseException):
    """The store would be opened now."""


@pytest.mark.parametrize("more", [("framework=numpy",), ("framework=numpy,keras", "action=parity")])
def test_workers_start_before_the_store_is_opened(tmp_path, cache, monkeypatch, more):
    """They take longer than all that this process imports meanwhile."""
    happened = []
    monkeypatch.setattr(LocalExecutor, "warm_up", lambda self: happened.append("workers"))

    def open_store(*arguments, **named):
        happened.append("store")
        raise Opened

    monkeypatch.setattr(run, "open_store", open_store)
    with pytest.raises(Opened):
        command("experiment=digits_mlp", "seed=0", "training.precision=float64", *more, cwd=tmp_path, cache=cache)
    assert happened == ["workers", "store"]


# How long the rest may take


def a_run(framework="keras", *, width="8", epochs=10, is_trial=False):
    task = SimpleNamespace(training=SimpleNamespace(epochs=epochs))
    labels = {"framework": framework, "network.width": width}
    name = f"{framework} {width}"
    return SimpleNamespace(framework=framework, labels=labels, task=task, is_trial=is_trial, name=name)


class Watched:
    """An estimate, or a display, of runs at given seconds."""

    def __init__(self, runs, *, n_workers=1):
        self.now = 0.0
        self.runs = runs
        self.estimate = Estimate([arm_of(each) for each in runs], n_workers=n_workers, clock=lambda: self.now)

    def begins(self, index, *, at):
        self.now = at
        self.estimate.handed_out(index, self.runs[index])

    def has_epochs(self, index, *ends):
        for self.now in ends:
            self.estimate.epoch_ended(index)

    def ends(self, index, *, at, is_typical=True):
        self.now = at
        self.estimate.ended(index, is_typical=is_typical)

    def trains(self, index, *, begin, end, is_typical=True):
        self.begins(index, at=begin)
        self.ends(index, at=end, is_typical=is_typical)

    @property
    def left(self):
        return self.estimate.seconds_left()


def test_nothing_is_estimated_before_there_is_anything_to_base_it_on():
    watched = Watched([a_run(), a_run()])
    assert watched.left is None
    watched.begins(0, at=1.0)
    assert watched.left is None


def test_runs_that_are_left_take_the_median_of_those_that_ended():
    watched = Watched([a_run()] * 6)
    for index, (begin, end) in enumerate([(0, 10), (10, 30), (30, 100)]):
        watched.trains(index, begin=begin, end=end)
    assert watched.left == 3 * 20.0
    watched.begins(3, at=100.0)
    watched.now = 105.0
    assert watched.left == 15.0 + 2 * 20.0


def test_the_epochs_of_the_run_under_way_are_a_base_too():
    """7 s until the first of 10 epochs is over, 2 s for each other one: 25 s in all, of which 13 are over."""
    watched = Watched([a_run(), a_run()])
    watched.begins(0, at=0.0)
    watched.has_epochs(0, 7.0)
    assert watched.left is None  # the first may compile
    watched.has_epochs(0, 9.0, 11.0, 13.0)
    assert watched.left == 12.0 + 25.0
    watched.now = 14.0
    assert watched.left == 11.0 + 25.0


def test_a_run_that_is_slower_than_the_others_is_judged_by_its_own_epochs():
    watched = Watched([a_run(), a_run()])
    watched.trains(0, begin=0, end=10)
    watched.begins(1, at=10.0)
    watched.has_epochs(1, 15.0)
    assert watched.left == 5.0  # as the first took
    watched.has_epochs(1, 20.0, 25.0)
    assert watched.left == 35.0  # 5 s each


def test_workers_share_what_is_left_and_the_longest_run_is_the_least():
    watched = Watched([a_run()] * 4, n_workers=2)
    watched.trains(0, begin=0, end=10)
    watched.begins(1, at=10.0)
    watched.begins(2, at=10.0)
    assert watched.left == 3 * 10 / 2
    watched.ends(1, at=20.0)
    watched.begins(3, at=20.0)
    watched.ends(2, at=20.0)
    assert watched.left == 10.0  # the other worker has nothing to do
    assert Watched([], n_workers=2).left == 0.0


def test_an_arm_is_judged_by_its_own_runs_then_by_its_frameworks():
    runs = [a_run(), a_run("lightning"), a_run(width="512"), a_run(width="512"), a_run("lightning")]
    watched = Watched(runs)
    watched.trains(0, begin=0, end=10)
    assert watched.left is None  # nothing of lightning is known
    watched.trains(1, begin=10, end=14)
    assert watched.left == 10 + 10 + 4
    watched.trains(2, begin=14, end=54)
    assert watched.left == 40 + 4


def test_a_failed_run_is_no_base():
    watched = Watched([a_run()] * 3)
    watched.trains(0, begin=0, end=1, is_typical=False)
    assert watched.left is None
    watched.trains(1, begin=1, end=9)
    assert watched.left == 8.0


def test_trials_of_a_framework_are_alike_whatever_they_try():
    first, second = (a_run(width=width, is_trial=True) for width in ("8", "16"))
    assert arm_of(first) == arm_of(second) != arm_of(a_run(width="8"))


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.2, "1 s"), (4.4, "4 s"), (11, "10 s"), (56, "55 s"), (58, "1 min"), (150, "2 min"), (3569, "59 min"),
        (3600, "1 h"), (4900, "1 h 20 min"), (36000, "10 h"),
    ],
)  # fmt: skip
def test_times_are_told_roughly(seconds, told):
    assert words.duration(seconds) == told


@pytest.mark.parametrize(
    ("number", "one", "many", "told"),
    [(0, "run", "", "0 runs"), (1, "run", "", "1 run"), (2, "study", "studies", "2 studies")],
)
def test_counts_are_told_in_grammar(number, one, many, told):
    assert words.count(number, one, many) == told


@pytest.mark.parametrize(("number", "of", "told"), [(2, 2, "both"), (3, 3, "all 3"), (2, 3, "2 of the 3")])
def test_some_of_all_are_told_in_a_word(number, of, told):
    assert words.of_all(number, of) == told


def displayed(console, *, seconds):
    """Three runs, one after the other, of 10 epochs of `seconds` each."""
    now = SimpleNamespace(seconds=0.0)
    runs = [a_run(width=width) for width in ("8", "8", "8")]
    arms = [arm_of(each) for each in runs]
    with Display(console, arms=arms, n_workers=1, metric="val/loss", clock=lambda: now.seconds) as display:
        for index, each in enumerate(runs):
            display.handed_out(index, each)
            display.started(index)
            for _ in range(10):
                now.seconds += seconds
                display.epoch_ended(index, {"val/loss": 0.25, "val/accuracy": 0.5})
            display.progress.refresh()
            display.ended(index, "what became of it", outcome="finished")


def test_a_plain_line_says_how_long_the_rest_may_take():
    console = plain_console()
    displayed(console, seconds=0.4)
    assert console.file.getvalue().splitlines() == [
        "Starting keras ...",
        "  1/3 what became of it, about 8 s left",
        "  2/3 what became of it, about 4 s left",
        "  3/3 what became of it",
    ]


def test_a_terminal_shows_bars_the_objective_and_what_is_left(terminal):
    displayed(terminal.console, seconds=12)
    written = terminal.left()
    assert screen_after(written) == [f"{number}/3 what became of it".rjust(23) for number in (1, 2, 3)]
    for shown in ("~4 min left", "~2 min left", "val/loss 0.2500", "keras 8"):
        assert shown in written
    assert "val/accuracy" not in written
