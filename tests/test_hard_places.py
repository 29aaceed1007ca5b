"""Whole commands where it is hard: as a bare user id in a container, on a disk that fills, with a server that dies."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request

import pytest
from cases import PROJECT
from commands import RUN, in_a_process

pytestmark = pytest.mark.slow
TYPED = (
    "experiment=digits_mlp", "framework=numpy", "training.precision=float64", "training.epochs=60", "seed=0,1,2",
)  # fmt: skip


def may(*options):
    tried = subprocess.run(["unshare", *options, "true"], capture_output=True, check=False)
    return pytest.mark.skipif(tried.returncode != 0, reason=f"unshare {' '.join(options)} is not permitted here")


def states_in(database):
    with sqlite3.connect(database) as connection:
        return sorted(connection.execute("SELECT name, status FROM runs").fetchall())


@may("--user", "--map-user=12345")
def test_a_bare_user_in_a_container_comes_to_the_report(tmp_path):
    here, elsewhere = tmp_path / "read-only", tmp_path / "elsewhere"
    here.mkdir(mode=0o555)
    elsewhere.mkdir()
    alone = ["unshare", "--user", "--map-user=12345"]
    assert subprocess.run([*alone, "touch", here / "x"], capture_output=True).returncode != 0
    typed = ["experiment=digits_mlp", "training.epochs=1", "seed=0"]
    places = [f"output={elsewhere}", f"tracking.uri=sqlite:///{elsewhere}/mlflow.db"]
    run = [*alone, sys.executable, RUN, *typed]
    bare = {"PATH": os.environ["PATH"], "LC_ALL": "C", "COLUMNS": "40"}
    streams = {"stdin": subprocess.DEVNULL, "capture_output": True, "cwd": here, "env": bare}
    refused = subprocess.run(run, **streams)
    assert refused.returncode == 2
    assert refused.stderr.startswith(b"`output` must be a folder that can be written, but")
    done = subprocess.run([*run, *places], **streams)
    assert done.returncode == 0, done.stdout + done.stderr
    (said,) = done.stderr.decode().splitlines()
    assert said.startswith(f"Data are kept in {elsewhere}/.cache: ")
    assert b"Traceback" not in done.stdout
    (report,) = elsewhere.glob("*/*/report/report.html")
    assert str(report) in done.stdout.decode().replace("\n", "")
    assert {status for _, status in states_in(elsewhere / "mlflow.db")} == {"FINISHED"}


FILLED = """
mount -t tmpfs -o size=20m none "$1" && cd "$1" || exit 9
shift
"$@" & sweep=$!
until ls outputs/*/*/runs/002-*/worker.log; do sleep 0.05; done
cat /dev/zero > fill
wait $sweep; echo "full: $?"
rm fill
"$@"; echo "again: $?"
cat mlflow.db > "$KEPT/mlflow.db"; cat mlflow.db-wal > "$KEPT/mlflow.db-wal"
"""


@may("--user", "--map-root-user", "--mount")
def test_a_disk_that_fills_in_mid_sweep_ends_with_3_and_the_same_command_goes_on(tmp_path, cache):
    (tmp_path / "small").mkdir()
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", FILLED, "-", tmp_path / "small",
         sys.executable, RUN, *TYPED],
        env=os.environ | {"TANDEM_CACHE": str(cache), "KEPT": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert "full: 3\n" in done.stdout
    assert "again: 0\n" in done.stdout, done.stdout + done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("There is no room left to write in ")]
    (why,) = {line.partition(" (")[2] for line in told}  # of a file or of the database, whichever came first
    assert why.endswith("); make some, and the same command goes on where it stopped.")
    assert "No space left on device" in why or "database or disk is full" in why
    assert "Traceback" not in done.stderr
    assert any(f"{told} done already" in done.stdout for told in ("1 of 3 runs is", "2 of 3 runs are"))
    finished = [name for name, status in states_in(tmp_path / "mlflow.db") if status == "FINISHED"]
    assert finished == [*(f"numpy · adam · seed {seed}" for seed in range(3)), "sweep of 3 runs"]


IMPATIENT = f"""
import os, sys
os.environ["HYDRA_MAIN_MODULE"] = "__main__"  # conf/ is found beside run.py, as when it is what was started
from experiments.tracking import client
client.PATIENCE_SECONDS = 3.0
import run
sys.argv[0] = {RUN!r}
sys.exit(run.main())
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serving(folder, port):
    """A real MLflow server that answers."""
    started = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port),
         "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=folder,
    )  # fmt: skip
    for _ in range(3000):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
            return started
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server did not begin")


def test_a_server_that_is_killed_in_mid_sweep_ends_with_3_and_the_same_command_goes_on(tmp_path, cache):
    kept, here, port = tmp_path / "server", tmp_path / "here", free_port()
    kept.mkdir()
    here.mkdir()
    typed = (*TYPED, f"tracking.uri=http://127.0.0.1:{port}")
    server = serving(kept, port)

    variables = os.environ | {"TANDEM_CACHE": str(cache), "PYTHONPATH": str(PROJECT)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", IMPATIENT, *typed], cwd=here, env=variables, **streams) as running:
        while running.poll() is None and not list(here.glob("outputs/*/*/runs/002-*/worker.log")):
            time.sleep(0.05)
        os.killpg(server.pid, signal.SIGKILL)
        out, err = running.communicate(timeout=600)
    assert running.returncode == 3, out + err
    assert "does not answer any more (tried for 3 s): [Errno 111] Connection refused" in err
    assert err.endswith("the same command goes on where it stopped.\n")
    assert "Traceback" not in err
    assert ("sweep of 3 runs", "RUNNING") in states_in(kept / "mlflow.db")
    server.wait()
    server = serving(kept, port)
    try:
        done = in_a_process(*typed, cwd=here, cache=cache)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    assert done.returncode == 0, done.stderr
    assert "1 of 3 runs is done already" in done.stdout
    assert [status for _, status in states_in(kept / "mlflow.db")].count("FINISHED") == 4
    assert "RUNNING" not in {status for _, status in states_in(kept / "mlflow.db")}
