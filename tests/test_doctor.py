"""`action=doctor`: each check is seen to come out wrong on facts that are; the whole of it runs once."""

import base64
import dataclasses
import json
import os
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cases import PROJECT
from commands import command
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from experiments.contract import FrameworkSpec
from experiments.doctor import action, check, findings, machine, packages, stores
from experiments.doctor.check import has_wrong
from experiments.doctor.packages import Installed, Pins
from experiments.execution import environment
from experiments.execution.worker_environment import worker_environment
from experiments.fingerprint import plain
from experiments.job import ExecutorSettings

PINS = Pins(
    python=SpecifierSet(">=3.11"),
    needed=(Requirement("optuna~=5.0.0"), Requirement("pytorch-lightning>=2.6.6,<2.7")),
    extras=(Requirement("cmaes>=0.12,<1"),),
)
GOOD = {"optuna": "5.0.1", "pytorch-lightning": "2.6.6"}
EXECUTOR = ExecutorSettings(workers=1, threads=1, device="cpu", start_method="auto", time_limit_seconds=60)
MACHINE = machine.Machine(
    cpu="a processor",
    instruction_sets="AVX2, AVX-512",
    cores=4,
    usable=4,
    quota=None,
    load=0.1,
    memory=16 * 2**30,
    free={"output": 100 * 2**30},
    gpus=(),
)


def states(checks):
    return [check.state for check in checks if check.state != "ok"]


def test_the_pins_are_those_of_the_project():
    pins = Pins.of(PROJECT / "pyproject.toml")
    assert {"torch", "keras", "mlflow"} <= {each.name for each in pins.needed}
    assert packages.versions(pins)["optuna"].startswith("5.")
    checks = packages.in_range(pins, packages.versions(pins)) + packages.conflicts(pins, packages.installed())
    assert states(checks) == []  # the suite runs on what the project asks for


def test_compiled_files_of_single_modules_are_no_module_that_two_packages_bring(monkeypatch):
    """Python 3.12 lists their folder as one."""
    monkeypatch.setattr(
        "importlib.metadata.packages_distributions", lambda: {"__pycache__": ["keras", "rich"], "keras": ["keras"]}
    )
    brought = {each.name: each.modules for each in packages.installed()}
    assert (brought["keras"], brought["rich"]) == ({"keras"}, set())


@pytest.mark.parametrize(
    ("found", "python", "told"),
    [
        (GOOD | {"pytorch-lightning": "2.6.3"}, "3.11.7", "pytorch-lightning 2.6.3 is not in its tested range, "),
        (GOOD | {"optuna": "5.0.1rc1"}, "3.11.7", "optuna 5.0.1rc1 is not in its tested range, ~=5.0.0"),
        (GOOD | {"cmaes": "1.0"}, "3.11.7", "cmaes 1.0 is not in its tested range, "),
        ({"optuna": "5.0.1"}, "3.11.7", "pytorch-lightning<2.7,>=2.6.6 is needed, and not installed"),
        (GOOD, "3.10.1", "Python 3.10.1 is not in >=3.11, which was tested"),
    ],
    ids=["malicious", "pre-release", "an extra", "missing", "Python"],
)
def test_a_version_out_of_its_range_is_wrong(found, python, told):
    assert states(packages.in_range(PINS, GOOD, python="3.11.7")) == []
    wrong = [check for check in packages.in_range(PINS, found, python=python) if check.state == "wrong"]
    assert [check.told.startswith(told) for check in wrong] == [True]
    assert all(check.fix for check in wrong)


def test_who_drags_a_version_down_is_named():
    sweeper = Installed(name="hydra-optuna-sweeper", version="1.3.0", requires=(Requirement("optuna<3.0.0,>=2.10.0"),))
    (broken,) = packages.conflicts(PINS, [sweeper, Installed(name="optuna", version="5.0.0")])
    assert (broken.state, "hydra-optuna-sweeper 1.3.0 asks for optuna<3.0.0,>=2.10.0" in broken.told) == ("wrong", True)
    (dragged,) = packages.conflicts(PINS, [sweeper, Installed(name="optuna", version="2.10.1")])
    assert (dragged.state, "may have brought it" in dragged.told) == ("worth knowing", True)
    assert dragged.fix.startswith("pip uninstall hydra-optuna-sweeper")


def test_two_packages_that_bring_one_module_are_told():
    one = Installed(name="optuna", version="5.0.0", modules=frozenset({"optuna"}))
    other = Installed(name="optuna-nightly", version="6", modules=frozenset({"optuna"}))
    (twin,) = packages.conflicts(PINS, [one, other])
    assert (twin.state, twin.told) == ("wrong", "optuna 5.0.0 and optuna-nightly 6 both bring optuna")
    part = dataclasses.replace(one, requires=(Requirement("optuna-nightly"),))
    assert packages.conflicts(PINS, [part, other]) == []


def test_a_file_that_shadows_a_module_is_told(tmp_path):
    project, here = tmp_path / "project", tmp_path / "here"
    for path in (project / "keras.py", project / "frameworks" / "__init__.py", here / "frameworks" / "a.py"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (here / "torch").mkdir()  # no module: nothing of Python in it
    checks = packages.shadows({"keras", "torch"}, folders=[here, project], project=project)
    assert [(check.state, check.told.partition(" is")[0]) for check in checks] == [
        ("wrong", str(project / "keras.py")),
        ("worth knowing", str(here / "frameworks")),
    ]


@pytest.mark.parametrize(
    ("changed", "state", "told"),
    [
        ({"usable": 0, "load": 0.0}, "wrong", "0 of 4 cores may be used"),
        ({"quota": 0.5}, "wrong", "a container's limit is 0.5"),
        ({"load": 3.0}, "worth knowing", "others keep 3.0 cores busy"),
        ({"instruction_sets": "AVX2"}, "worth knowing", "without AVX-512"),
        ({"instruction_sets": ""}, "worth knowing", "without AVX2 and AVX-512"),
        ({"memory": 2**29}, "wrong", "0.5 GiB of memory are free"),
        ({"memory": 2**31}, "worth knowing", "2.0 GiB of memory are free"),
        ({"free": {"output": 2**20}}, "wrong", "output: 0.0 GiB are free"),
        ({"free": {"output": 2**29}}, "worth knowing", "output: 0.5 GiB are free"),
        ({"free": {"output": "it cannot be written"}}, "wrong", "output: it cannot be written"),
    ],
)
def test_a_machine_that_lacks_something_is_told(changed, state, told):
    assert states(machine.checks(MACHINE, executor=EXECUTOR)) == []
    checks = machine.checks(dataclasses.replace(MACHINE, **changed), executor=EXECUTOR)
    (check,) = [check for check in checks if check.state != "ok"]
    assert (check.state, told in check.told, bool(check.fix)) == (state, True, True)


def test_a_container_limits_cores_and_memory(tmp_path):
    assert machine.quota(tmp_path) is None
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.quota(tmp_path) is None
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert machine.quota(tmp_path) == 1.5
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 8 kB\n")
    assert machine.free_memory(groups=tmp_path, meminfo=tmp_path / "meminfo") == 8192
    (tmp_path / "memory.max").write_text("5000")
    (tmp_path / "memory.current").write_text("1000")
    assert machine.free_memory(groups=tmp_path, meminfo=tmp_path / "meminfo") == 4000


def test_variables_that_change_numbers_are_told():
    def checks(inherited, stated):
        made = worker_environment(inherited, threads=1, device="cpu", stated=stated, told=("KERAS_",))
        return machine.variables(made)

    assert states(checks({"HOME": "/"}, {})) == []
    left_out, stated, inherited = checks({"KERAS_MAX_EPOCHS": "1", "OPENBLAS_CORETYPE": "Haswell"}, {"A": "1"})
    assert "left out of workers: KERAS_MAX_EPOCHS" in left_out.told
    assert "gives workers A" in stated.told
    assert "inherit OPENBLAS_CORETYPE" in inherited.told


def test_a_store_is_looked_at_and_not_made(tmp_path, empty_database):
    absent = tmp_path / "mlflow.db"
    (check,) = stores.checks(f"sqlite:///{absent}")
    assert (check.state, absent.exists()) == ("ok", False)
    (check,) = stores.checks(f"sqlite:///{empty_database}")
    assert (check.state, ", which MLflow 3." in check.told) == ("ok", True)
    absent.write_text("no database")
    assert states(stores.checks(f"sqlite:///{absent}")) == ["wrong"]
    newer = tmp_path / "newer.db"
    with sqlite3.connect(newer) as connection:
        connection.executescript(
            "CREATE TABLE alembic_version (version_num); INSERT INTO alembic_version VALUES ('f00')"
        )
    (check,) = stores.checks(f"sqlite:///{newer}")
    assert (check.state, "does not know" in check.told) == ("wrong", True)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "postgresql://user:secret@127.0.0.1:9/db", "nonsense:///x"])
def test_a_store_that_does_not_answer_is_wrong(uri):
    (check,) = stores.checks(uri)
    assert (check.state, "secret" in check.told) == ("wrong", False)


class AsksWhoItIs(BaseHTTPRequestHandler):
    """A server behind Basic auth."""

    def do_GET(self):
        is_known = self.headers["Authorization"] == "Basic " + base64.b64encode(b"bob:se:cret@1").decode()
        self.send_response((200 if self.path == "/under/health" else 404) if is_known else 401)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(("password", "status"), [("se:cret%401", 200), ("another", 401)])
def test_a_server_is_told_who_asks(password, status):
    with ThreadingHTTPServer(("127.0.0.1", 0), AsksWhoItIs) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"127.0.0.1:{server.server_port}/under"
        (check,) = stores.checks(f"http://bob:{password}@{place}/")
        server.shutdown()
    assert check.told == f"http://bob:***@{place}/ answers with {status}"
    assert check.state == ("ok" if status == 200 else "worth knowing")


@pytest.mark.parametrize(
    "uri",
    [
        "http://bob:secret@",
        "http://bob:secret@127.0.0.1:port",
        "http://bob:secret/1@127.0.0.1:9",
        "http://bob:secret@[127.0.0.1",
        "http://bob:secret@\u210000.0.1:9",
        "http://bob:secret\u20ac@127.0.0.1:9",
        "postgresql://bob:secret@127.0.0.1:port/db",
        "postgresql://bob:secret/1@127.0.0.1:9/db",
    ],
)
def test_no_address_is_too_odd_to_be_judged_or_shows_its_password(uri):
    (check,) = stores.checks(uri)
    assert (check.state, "secret" in check.told + check.fix) == ("wrong", False)


FOUND = {
    "fetch": 1e-5,
    "frameworks": {
        name: {
            "versions": {name: "1"},
            "devices": ["cpu"],
            "settings": {"threads": "1"},
            "speed": {"matrix product": 0.01, "convolution": 0.01},
            "trained": ["abc", "abc"],
        }
        for name in ("first", "second")
    },
}


SPECS = {
    "first": FrameworkSpec(module="first", colour="#000000"),
    "second": FrameworkSpec(module="second", colour="#000000", extra="jax"),
}


def judged(**changed):
    found = FOUND | {"frameworks": FOUND["frameworks"] | {"second": FOUND["frameworks"]["second"] | changed}}
    return findings.judge(found, frameworks=SPECS, n_gpus=1, device="cpu") + findings.of_trainings(found)


@pytest.mark.parametrize(
    ("changed", "state", "told"),
    [
        ({"failed": "ImportError: none"}, "wrong", "second cannot be imported or does not answer: ImportError: none"),
        ({"trained": ["abc", "abd"]}, "wrong", "second: two processes, different weights"),
        ({"trained": ["abc", {"failed": "killed"}]}, "wrong", "second could not train: killed"),
        ({"trained": ["no cnn"]}, "worth knowing", "second was not trained: no cnn"),
        ({"speed": {"matrix product": 0.01, "convolution": 0.1}}, "worth knowing", "second takes 10.0 times as long"),
    ],
)
def test_what_a_framework_lacks_is_told(changed, state, told):
    assert states(judged()) == []
    (check,) = [check for check in judged(**changed) if check.state != "ok"]
    assert (check.state, told in check.told, bool(check.fix)) == (state, True, True)


def test_the_fix_names_the_extra_that_a_framework_needs():
    fixes = [check.fix for check in judged(failed="ModuleNotFoundError: No module named 'jax'") if check.fix]
    assert fixes == ['in the project\'s folder: pip install -e ".[jax]"']
    found = FOUND | {"frameworks": {"first": {"failed": "ImportError: none", "trained": []}}}
    (check, *_) = findings.judge(found, frameworks=SPECS, n_gpus=0, device="cpu")
    assert check.fix == "in the project's folder: pip install -e ."


def test_a_gpu_that_a_framework_does_not_see_is_wrong():
    of_gpu = findings.judge(FOUND, frameworks=SPECS, n_gpus=1, device="gpu")
    (first, second) = [each for each in of_gpu if each.state == "wrong"]
    assert "first" in first.told
    assert "second" in second.told
    assert "the system lists 1 GPU(s)" in second.told


def test_no_worker_at_all_is_wrong():
    found = FOUND | {"fetch": {"failed": "killed"}}
    assert has_wrong(findings.judge(found, frameworks=SPECS, n_gpus=0, device="cpu"))


def test_the_whole_page(tmp_path, cache, local, monkeypatch):
    """In this process: workers are real, and nothing is trained but for a moment; no store is made."""
    done = command("action=doctor", "framework=numpy,lightning", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stdout
    assert "lightning: two processes, the same bits" in " ".join(done.stdout.split())
    assert "numpy was not trained" in " ".join(done.stdout.split())
    assert "Asking lightning ..." in done.stdout
    kept = json.loads((tmp_path / "outputs" / "doctor.json").read_text())
    assert {check["part"] for check in kept["checks"]} >= {
        "Packages",
        "Cores",
        "Store",
        "Frameworks",
        "Speed",
        "Repeats",
    }
    assert not (tmp_path / "mlflow.db").exists()
    monkeypatch.setattr(packages, "versions", lambda pins: {})
    assert command("action=doctor", "framework=numpy", cwd=tmp_path, cache=cache).returncode == 1


def test_a_sweep_keeps_what_is_so_and_what_the_doctor_found_here(tmp_path):
    place = {"output": tmp_path, "cache": tmp_path, "project": PROJECT / "pyproject.toml"}
    action.beside_report(tmp_path / "report", **place)
    kept = json.loads((tmp_path / "report" / "doctor.json").read_text())
    assert kept["doctor"] == "action=doctor was not run here"
    assert kept["of_this_sweep"]["versions"]["optuna"].startswith("5.")
    for host, is_here in ((environment.facts()["host"], True), ("another", False)):
        (tmp_path / "doctor.json").write_text(json.dumps({"found": {"machine": {"host": host}}, "made": "today"}))
        action.beside_report(tmp_path / "report", **place)
        kept = json.loads((tmp_path / "report" / "doctor.json").read_text())
        assert (kept["doctor"] != "action=doctor was not run here") is is_here


def test_no_path_of_this_machine_is_kept_with_a_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(action.packages, "versions", lambda _: {"optuna": "5.0.1"})
    output, cache = tmp_path / "my outputs", tmp_path / "cache"
    seen, where = machine.look(output=output, cache=cache), machine.places(output, cache)
    told = machine.checks(seen, executor=EXECUTOR, where=where) + stores.checks(f"sqlite:///{tmp_path}/mlflow.db")
    told += [
        check.judged("Speed", "42 GFLOP/s and ../here"),
        check.judged("Speed", "(/tmp/a b)"),
        check.judged("Speed", "file:/a"),
    ]
    found = {"machine": environment.facts(), "frameworks": {"keras": {"failed": f"ImportError: {tmp_path}/x.so"}}}
    assert action._keep({"found": found, "checks": plain(told)}, output=output).startswith("kept")
    assert str(output) in (output / "doctor.json").read_text()  # here it is told
    action.beside_report(tmp_path / "report", output=output, cache=cache, project=PROJECT / "pyproject.toml")
    text = (tmp_path / "report" / "doctor.json").read_text()
    assert [word for word in (str(tmp_path), "my outputs", "/tmp", "file:/") if word in text] == []
    kept = json.loads(text)
    assert kept["of_this_sweep"]["machine"]["free"].keys() == {"output", "TANDEM_CACHE", "TMPDIR"}
    assert [each["part"] for each in kept["doctor"]["checks"]] == [each.part for each in told]
    assert "42 GFLOP/s and ../here" in text


def test_a_report_goes_without_what_cannot_be_written(tmp_path, monkeypatch, capsys):
    place = {"output": tmp_path, "cache": tmp_path, "project": PROJECT / "pyproject.toml"}
    monkeypatch.setattr(action.packages, "versions", lambda _: {})
    (tmp_path / "report" / "doctor.json").mkdir(parents=True)
    action.beside_report(tmp_path / "report", **place)
    assert capsys.readouterr().err.startswith("The report goes without doctor.json, which cannot be made: Is a dir")


def test_an_output_that_cannot_be_written_is_on_the_page(tmp_path):
    (tmp_path / "file").touch()
    assert action._keep({}, output=Path(os.devnull)).startswith("/dev/null/doctor.json cannot be written")
