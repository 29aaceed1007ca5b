"""Processes: what they emit arrives, what breaks is one failure, and nothing else is lost."""

import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from cases import PROJECT
from conftest import EXECUTOR
from worker_calls import (
    chatter,
    collector,
    complain,
    die,
    environment,
    fill_the_disk,
    lose_its_folder,
    run_out_of_memory,
    say,
    sleep,
)

from experiments.errors import DiskFull, SettingsError
from experiments.execution import devices, temporary
from experiments.execution.devices import check_share, choose_device
from experiments.execution.executor import Completed, Failed, LocalExecutor, WorkItem
from experiments.execution.preload_log import PRELOAD_LOG
from experiments.execution.worker_environment import THREAD_VARIABLES


def items(tmp_path, *calls):
    return [
        WorkItem(target=target, arguments=arguments, log=tmp_path / f"{number}.log")
        for number, (target, *arguments) in enumerate(calls)
    ]


def by_index(events, index):
    return [event for at, event in events if at == index]


def test_events_arrive_in_order_and_end(local, tmp_path):
    events = list(local.run(items(tmp_path, (say, ["a", "b", "c"]), (say, ["d"]), (say, []))))
    assert by_index(events, 0) == ["a", "b", "c", Completed()]
    assert by_index(events, 1) == ["d", Completed()]
    assert by_index(events, 2) == [Completed()]


def test_an_exception_is_one_failure_with_its_reason_and_a_log(local, tmp_path):
    events = list(local.run(items(tmp_path, (complain,), (say, ["fine"]))))
    assert by_index(events, 0) == [Failed(reason="ValueError: three is not two", killed=False)]
    assert by_index(events, 1) == ["fine", Completed()]
    assert "Traceback" in (tmp_path / "0.log").read_text()


def test_a_killed_worker_is_one_failure_and_the_others_go_on(local, tmp_path):
    events = list(local.run(items(tmp_path, (die, signal.SIGKILL), (say, ["fine"]), (die, signal.SIGTERM))))
    assert by_index(events, 0)[0] == "alive"
    assert by_index(events, 0)[1].killed
    assert "killed by SIGKILL; the system may have run out of memory" in by_index(events, 0)[1].reason
    assert by_index(events, 1) == ["fine", Completed()]
    assert "killed by SIGTERM" in by_index(events, 2)[1].reason


def test_garbage_is_looked_for_in_a_worker_but_not_among_what_was_imported(local, tmp_path):
    ((_, found), _) = local.run(items(tmp_path, (collector,)))
    assert found == (True, True)


def test_no_garbage_is_looked_for_while_the_frameworks_are_imported(tmp_path):
    """It took a fifth of the time until the first epoch."""
    code = "import experiments.execution.preload_log, gc; print(gc.isenabled(), file=open('told', 'w'))"
    for variables, is_enabled in (({}, "True"), ({PRELOAD_LOG: str(tmp_path / "preload.log")}, "False")):
        env = os.environ | {"PYTHONPATH": str(PROJECT)} | variables
        subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, check=True)
        assert (tmp_path / "told").read_text().strip() == is_enabled


def test_a_folder_that_is_removed_is_no_failure_of_the_run(local, tmp_path):
    (event,) = [event for _, event in local.run(items(tmp_path / "run", (lose_its_folder,)))]
    assert event.killed
    assert event.reason.startswith(f"its folder {tmp_path}/run was removed (FileNotFoundError: ")


def test_running_out_of_memory_is_named(local, tmp_path):
    events = list(local.run(items(tmp_path, (run_out_of_memory,))))
    assert events == [(0, Failed(reason="out of memory", killed=False))]


def test_a_full_disk_ends_all_work_and_is_no_failure_of_one(local, tmp_path):
    with pytest.raises(DiskFull, match=rf"no room left to write in {tmp_path} .*the same command goes on"):
        list(local.run(items(tmp_path, (fill_the_disk,), (sleep, 3))))
    assert "No space left on device" in (tmp_path / "0.log").read_text()


def test_a_log_that_cannot_be_made_is_one_failure_with_its_reason(local, tmp_path):
    work = WorkItem(target=say, arguments=(["a"],), log=Path("/proc/nope/0.log"))
    assert [event.reason for _, event in local.run([work])] == [
        "FileNotFoundError: [Errno 2] No such file or directory: '/proc/nope'"
    ]


SOCKETS = """
import sys
from conftest import EXECUTOR
from experiments.execution import temporary
from experiments.execution.executor import LocalExecutor, WorkItem
from pathlib import Path
temporary.SHORT_FOLDERS = ("/nowhere", sys.argv[2])
local = LocalExecutor(settings=EXECUTOR, device="cpu", frameworks={}, folder=Path(sys.argv[1]))
local.warm_up()
work = WorkItem(target=repr, arguments=(), log=Path(sys.argv[1]) / "0.log")
print(*sorted(local.run([work, work, work]), key=lambda told: told[0]))
print(*(path.resolve().parent for path in Path("/proc/self/fd").iterdir() if path.resolve().name.startswith("tandem-")))
"""


def test_sockets_lie_elsewhere_where_the_temporary_folder_has_a_long_name(tmp_path):
    long = tmp_path / ("t" * 110)
    long.mkdir()
    assert temporary.SHORT_FOLDERS[0] == "/tmp"
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # in /tmp itself others have folders too
        done = subprocess.run(
            [sys.executable, "-c", SOCKETS, str(tmp_path), short],
            env=os.environ | {"TMPDIR": str(long), "PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"},
            capture_output=True, text=True,
        )  # fmt: skip
        ended, held = done.stdout.splitlines()
        assert (ended, done.stderr) == ("(0, Completed()) (1, Completed()) (2, Completed())", "")
        assert held == short  # one, however many items there were
        assert [*Path(short).iterdir(), *long.iterdir()] == []


def test_a_hanging_worker_is_stopped_at_its_time_limit(local, tmp_path, monkeypatch):
    """The clock is put forward once it hangs, so that a slow machine does not have the next one stopped too."""
    clock, passed = time.monotonic, []
    monkeypatch.setattr(time, "monotonic", lambda: clock() + sum(passed))
    hasty = LocalExecutor(
        settings=dataclasses.replace(EXECUTOR, workers=1, time_limit_seconds=900.5),
        device="cpu",
        frameworks=local.frameworks,
        folder=tmp_path,
    )
    events = hasty.run(items(tmp_path, (sleep, 60), (say, ["fine"])))
    hung = next(events)
    passed.append(900.5)
    stopped = Failed(reason="stopped at executor.time_limit_seconds=900.5", killed=False)
    assert [hung, *events] == [(0, hung[1]), (0, stopped), (1, "fine"), (1, Completed())]


def test_leaving_early_kills_what_is_running(local, tmp_path):
    running = local.run(items(tmp_path, (sleep, 600)))
    _, pid = next(running)
    running.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_chatter_goes_to_the_log_and_not_to_the_terminal(local, tmp_path, capfd):
    list(local.run(items(tmp_path, (chatter,))))
    assert (tmp_path / "0.log").read_text() == "a banner\na warning\n"
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_workers_have_no_gpu_and_pinned_threads(local, tmp_path):
    (_, seen), _ = local.run(items(tmp_path, (environment,)))
    assert seen["CUDA_VISIBLE_DEVICES"] == ""
    assert {seen[name] for name in THREAD_VARIABLES} == {"1"}


def test_spawn_is_the_other_way(tmp_path):
    spawning = LocalExecutor(
        settings=dataclasses.replace(EXECUTOR, start_method="spawn"), device="cpu", frameworks={}, folder=tmp_path
    )
    assert list(spawning.run(items(tmp_path, (say, ["a"])))) == [(0, "a"), (0, Completed())]


@pytest.mark.parametrize(
    ("visible", "requested", "device"),
    [("0,1", "auto", "gpu"), ("0", "cpu", "cpu"), ("", "auto", "cpu"), ("-1", "auto", "cpu"), ("2", "gpu", "gpu")],
)
def test_the_device_follows_what_is_visible(monkeypatch, tmp_path, visible, requested, device):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(devices, "NVIDIA_DEVICES", tmp_path)
    assert choose_device("auto") == "cpu"  # a variable brings no GPU
    (tmp_path / "0000:01:00.0").mkdir()
    assert choose_device(requested) == device


def test_gpus_are_handed_out_one_per_worker_and_forked_by_spawn(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setattr(devices, "WSL_DEVICE", tmp_path)
    settings = dataclasses.replace(EXECUTOR, start_method="auto")
    two = LocalExecutor(settings=settings, device="gpu", frameworks={}, folder=tmp_path)
    assert two.start_method == "spawn"
    events = list(two.run(items(tmp_path, (environment,), (environment,))))
    assert {event["CUDA_VISIBLE_DEVICES"] for _, event in events if isinstance(event, dict)} == {"4", "7"}


def test_more_threads_than_cores_are_refused():
    with pytest.raises(SettingsError, match=r"must hold, but got 500 \* 1; lower one of them"):
        check_share(dataclasses.replace(EXECUTOR, workers=500))
