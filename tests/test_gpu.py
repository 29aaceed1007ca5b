"""`benchmarks.gpu`, as far as no GPU is needed: parts end in time, failures are recorded."""

import dataclasses
import json
import re
import signal
import sys
from types import SimpleNamespace

import cases
import numpy as np
import pytest
from cases import PROJECT
from worker_calls import die

import frameworks
from benchmarks import gpu, gpu_pack, gpu_page, gpu_parts, gpu_workers
from experiments import job
from experiments.data import images
from experiments.doctor import probes
from experiments.errors import ExitCode
from experiments.execution import devices, worker
from experiments.execution.executor import Completed, Failed, LocalExecutor, WorkItem
from experiments.execution.run import Finished, Run

NUMPY = {"numpy": frameworks.FRAMEWORKS["numpy"]}


class Counted:
    """The numpy framework, on what it takes for a GPU."""

    def build(self, *arguments, device, **named):
        return frameworks.load("numpy").build(*arguments, device="cpu", **named)

    def versions(self):
        return {}

    def device_peak_bytes(self):
        return 3 * 2**20


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_the_ledger_has_the_peak_of_the_device_where_there_is_one(device, digits, digits_path, tmp_path):
    task = cases.change(cases.task("experiment=digits_mlp", precision="float64"), training={"epochs": 1})
    run = Run(
        task=task,
        framework="numpy",
        seed=0,
        device=device,
        data_fingerprint=digits.fingerprint,
        data_path=digits_path,
        folder=tmp_path,
    )
    events = []
    worker.train(run, lambda _: Counted(), events.append)
    (finished,) = [each for each in events if isinstance(each, Finished)]
    assert finished.metrics.get("memory/device_peak_mib") == (3.0 if device == "gpu" else None)


def test_a_warm_process_does_one_item_after_the_other(tmp_path):
    settings = job.ExecutorSettings(
        workers=1, threads=1, device="cpu", start_method="spawn", time_limit_seconds=60, environment={"A": "1"}
    )
    local = LocalExecutor(settings=settings, device="cpu", frameworks=NUMPY, folder=tmp_path)
    warm = gpu_workers.WarmExecutor(local)
    try:
        good, bad = (probes.fetch, (64,)), (probes.fetch, (0,))
        killed = (die, (signal.SIGKILL,))
        items = [WorkItem(target=t, arguments=a, log=tmp_path, framework="numpy") for t, a in (good, bad, killed, good)]
        events = list(warm.run(items))
    finally:
        warm.close()
    assert [(index, type(event)) for index, event in events] == [
        (0, float), (0, Completed), (1, Failed), (2, Failed), (3, float), (3, Completed)
    ]  # fmt: skip
    assert "exit code -9" in events[3][1].reason
    assert not any(process.is_alive() for process in warm._processes.values())


def test_a_probe_that_fails_is_a_certificate_that_is_not_there(monkeypatch, tmp_path, cache):
    """The executor's events are those that certificates go by; what was certified before stays."""
    monkeypatch.setattr(gpu_parts, "NAMES", ("numpy", "keras_numpy"))
    specs = dict.fromkeys(gpu_parts.NAMES, NUMPY["numpy"])
    settings = job.ExecutorSettings(workers=1, threads=1, device="cpu", start_method="spawn", time_limit_seconds=60)
    warm = gpu_workers.WarmExecutor(LocalExecutor(settings=settings, device="cpu", frameworks=specs, folder=tmp_path))
    monkeypatch.setattr(gpu_parts, "_cache", lambda folder: cache)
    task = cases.task("experiment=digits_mlp", precision="mixed_bfloat16")
    try:
        found = gpu_parts._certified(
            task, warm, loads=frameworks.load, precisions=("float64",), folder=tmp_path, device="cpu"
        )
    finally:
        warm.close()
    assert found == {"of all": {"failed": found["of all"]["failed"]}}
    assert "keras_numpy" in found["of all"]["failed"]


def test_certificates_go_on_where_an_earlier_try_was_stopped(monkeypatch, tmp_path):
    had = {f"{task} a x b float64": {"passed": True} for task in gpu_parts.TASKS}
    bad = {"mnist_cnn of all TF32": {"failed": "a worker died"}}
    (tmp_path / "gpu.json").write_text(json.dumps({"parts": {"certificates": {"found": had | bad}}}))
    asked = []
    monkeypatch.setattr(gpu_parts, "WarmExecutor", lambda _: SimpleNamespace(close=lambda: asked.append("closed")))

    def certified(task, executor, *, precisions, **others):
        asked.append((task.network.kind, precisions))
        return {"a x b": {"passed": None}}

    monkeypatch.setattr(gpu_parts, "_certified", certified)
    found = gpu_parts.certificates(tmp_path, "cpu")
    assert asked == [("cnn", ("float32", "mixed_bfloat16")), ("cnn", ("float32",)), "closed"]
    assert json.loads((tmp_path / "certificates.json").read_text()) == found
    assert set(found) == {*had, "mnist_cnn a x b float32 and bfloat16", "mnist_cnn a x b TF32"}


def test_what_a_part_has_found_stays_while_others_are_done_again(monkeypatch, tmp_path):
    """Doctor comes first, and writes the file that certificates go on from; for mnist no time is left."""
    stopped = {"status": "stopped after 9 s", "seconds": 9.0, "found": {"a x b": {"passed": None}}, "said": []}
    parts = dict.fromkeys(("doctor", "certificates", "mnist"), stopped)
    (tmp_path / "gpu.json").write_text(json.dumps({"device": "gpu", "parts": parts}))
    monkeypatch.setattr(gpu_page, "page", lambda _: "")
    monkeypatch.setattr(gpu_page, "LIMITS", {"doctor": 9.0, "certificates": 9.0, "mnist": 1.0})
    seen = {}

    def part(name, *, folder, **others):
        seen[name] = json.loads((folder / "gpu.json").read_text())["parts"]
        return {"status": "done", "seconds": 0.0, "found": {}}

    monkeypatch.setattr(gpu, "_part", part)
    results = gpu.run(tmp_path, device="gpu", page=tmp_path / "page.md")["parts"]
    assert seen["certificates"] == parts | {"doctor": results["doctor"]}
    assert results["mnist"] == stopped
    assert list(seen) == ["doctor", "certificates"]


@pytest.mark.parametrize(
    ("visible", "probe", "is_well"),
    [(["4", "7"], "worker_calls", True), (["4", "4"], "worker_calls", False), (["4", "7"], "", False)],
)
def test_workers_at_the_same_time_are_to_have_a_gpu_each(monkeypatch, tmp_path, visible, probe, is_well):
    monkeypatch.setattr(devices, "visible_gpus", lambda: visible)
    spec = dataclasses.replace(NUMPY["numpy"], probe=probe)
    monkeypatch.setattr(gpu_parts, "FRAMEWORKS", {"numpy": spec})
    found = gpu_parts.seen_at_once("numpy", workers=2, folder=tmp_path)
    seen = {"told": visible, "sees": [["cpu", "gpu"] if probe else []] * 2}
    assert found == (seen if is_well else {"failed": f"each was to see the CPU and a GPU of its own, but {seen}"})


@pytest.mark.parametrize(("device", "visible", "n"), [("cpu", ["0", "1"], "none"), ("gpu", ["0"], "1")])
def test_one_run_per_gpu_is_skipped_by_name_where_there_are_not_two(monkeypatch, tmp_path, device, visible, n):
    monkeypatch.setattr(devices, "visible_gpus", lambda: visible)
    assert gpu_parts.gpus(tmp_path, device) == {"skipped": f"one run per GPU needs two GPUs, and {n} is used here"}


def test_a_part_that_is_skipped_is_not_done_again_and_nothing_failed(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_page, "LIMITS", {"gpus": 60.0})
    typed = ["run", str(tmp_path), "--device", "cpu"]
    assert gpu.main(typed) == ExitCode.ALL_GOOD
    assert "Skipped: one run per gpu needs two gpus, and none is used here, " in (tmp_path / "gpu.md").read_text()
    monkeypatch.setattr(gpu, "_part", lambda *_, **__: pytest.fail("again"))
    assert gpu.main(typed) == ExitCode.ALL_GOOD


def test_the_gpus_page_tells_what_each_worker_saw():
    good = {"told": ["0", "1"], "sees": [["cpu", "cuda:0 H200"], ["cpu", "cuda:0 H200"]]}
    told = {"lightning": good, "keras_jax": {"failed": "a | b"}}
    lines = gpu_page.TABLES["gpus"]({"told": told, "command": "x", "code": 0, "runs": []})
    assert "| lightning | 0; 1 | cpu, cuda:0 H200; cpu, cuda:0 H200 |" in lines
    assert "| keras_jax |  | a \\| b |" in lines


def test_images_are_written_as_they_are_read(tmp_path):
    x, y = np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.array([3, 9], np.uint8)
    arrays = {name: x if name.startswith("x") else y for name in images.IDX_FILES}
    read = images.read_idx_folder(gpu_parts._idx(tmp_path / "images", arrays, times=2))
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], np.concatenate([array] * (2 if name.endswith("train") else 1)))


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_fashion_mnist_travels_along_from_cache_or_package(monkeypatch, tmp_path, suffix):
    monkeypatch.setattr(gpu_pack, "DEBIAN_FASHION_MNIST", tmp_path / "package")
    assert "no file of Fashion-MNIST" in gpu_pack._fashion(tmp_path / "to", cache=tmp_path / "cache")
    (tmp_path / "cache" / "fashion-mnist").mkdir(parents=True)
    (tmp_path / "package").mkdir()
    for file in images.IDX_FILES.values():
        (tmp_path / "package" / file.replace(".gz", suffix)).write_bytes(b"x")
    assert gpu_pack._fashion(tmp_path / "to", cache=tmp_path / "cache") == "Fashion-MNIST's files, 0 MiB"
    assert len(list((tmp_path / "to").iterdir())) == 4


def test_tf32_is_put_back_on_after_a_network_is_built(monkeypatch):
    updates = []
    matmul, cudnn = SimpleNamespace(allow_tf32=False), SimpleNamespace(allow_tf32=False)
    backends = SimpleNamespace(cuda=SimpleNamespace(matmul=matmul), cudnn=cudnn)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(backends=backends))
    config = SimpleNamespace(update=lambda *pair: updates.append(pair))
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(config=config))
    framework = SimpleNamespace(build=lambda task: (task, cudnn.allow_tf32))
    assert gpu_workers.WithTf32(framework).build("a model") == ("a model", False)
    assert (cudnn.allow_tf32, matmul.allow_tf32) == (True, True)
    assert updates == [("jax_default_matmul_precision", "tensorfloat32")]


def test_what_fails_and_what_hangs_is_recorded_and_done_again(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_page, "LIMITS", {"no_part": 30.0, "steps": 1.0})
    monkeypatch.setattr(gpu, "LEAST_SECONDS", 0.5)
    slow = tmp_path / "slow"
    slow.write_text(f'#!/bin/sh\n[ "$3" = steps ] && sleep 60\nexec {sys.executable} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setattr(gpu.sys, "executable", str(slow))
    results = gpu.run(tmp_path, device="gpu", page=tmp_path / "page.md")
    assert results["parts"]["no_part"]["status"] == "failed with 1"
    assert "KeyError: 'no_part'" in results["parts"]["no_part"]["said"][-1]
    assert results["parts"]["steps"]["status"] == "stopped after 1 s"
    assert "Stopped after 1 s, 1 s." in (tmp_path / "page.md").read_text()
    kept = json.loads((tmp_path / "gpu.json").read_text())
    kept["parts"]["steps"] |= {"status": "done", "found": {"by hand": {"seconds": 1e-4, "peak_mib": None}}}
    (tmp_path / "gpu.json").write_text(json.dumps(kept))
    monkeypatch.setattr(gpu, "_part", lambda name, **_: {"status": f"again {name}", "seconds": 0.0, "found": None})
    again = gpu.run(tmp_path, device="gpu", page=tmp_path / "page.md")
    assert {name: part["status"] for name, part in again["parts"].items()} == {
        "steps": "done",
        "no_part": "again no_part",
    }
    assert "| by hand | 100 |  |" in (tmp_path / "page.md").read_text()


ROW = {"level": "C1", "precision": "float64", "what": "logits", "measured": 2e-9, "bound": 1e-9, "passed": False}


@pytest.mark.parametrize(
    ("part", "found", "said"),
    [
        (
            "certificates",
            {"mnist_cnn of all exact": {"failed": "a worker died"}},
            "mnist_cnn of all exact: a worker died",
        ),
        ("certificates", {"a x b exact": {"passed": False, "rows": [ROW]}}, "a x b exact: not certified"),
        ("certificates", {"a x b TF32": {"passed": None, "rows": [ROW]}}, None),
        ("certificates", {"a x b exact": {"passed": True, "rows": [ROW]}}, None),
        ("steps", {"by hand": {"seconds": 1e-4}, "JAX": {"failed": "no GPU"}}, "JAX: no GPU"),
        ("doctor", {"code": 1, "checks": [], "found": {"frameworks": {"a": {"trained": ["abc", "abc"]}}}}, None),
        (
            "doctor",
            {"code": 1, "checks": [], "found": {"frameworks": {"a": {"trained": [{"failed": "killed"}]}}}},
            "found frameworks a trained: killed",
        ),
        ("mnist", {"code": 1, "said": "no", "command": "x", "runs": []}, "the sweep left with 1"),
    ],
)
def test_a_part_of_which_something_failed_is_not_done(part, found, said, tmp_path, monkeypatch):
    does = "import json, sys; from benchmarks import gpu_parts as it; "
    does += f"it.PARTS = {{{part!r}: lambda *_: json.loads({json.dumps(found)!r})}}; it.main()"
    monkeypatch.setattr(gpu, "PART", does)
    monkeypatch.setattr(gpu_page, "LIMITS", {part: 60.0})
    results = gpu.run(tmp_path, device="gpu", page=tmp_path / "page.md")["parts"][part]
    assert results["status"] == ("failed with 1" if said else "done")
    assert results["found"] == found
    page = (tmp_path / "page.md").read_text()
    assert ("\nFailed with 1, " in page, said is None or said in page) == (said is not None, True)
    monkeypatch.setattr(gpu, "_part", lambda *_, **__: {"status": "again", "seconds": 0.0, "found": None})
    again = gpu.run(tmp_path, device="gpu", page=tmp_path / "page.md")["parts"][part]
    assert again["status"] == ("again" if said else "done")


def test_no_part_starts_without_time(tmp_path):
    part = gpu._part("steps", folder=tmp_path, device="cpu", seconds=0.0)
    assert part["status"] == "not run: no time was left"


def test_the_page_tells_what_is_over_its_bound_and_what_has_no_certificate():
    row = {"level": "C1", "precision": "float64", "what": "logits", "measured": 2e-9, "bound": 1e-9, "passed": False}
    found = {
        "mnist_cnn keras_jax exact": {"passed": False, "rows": [row, row | {"measured": 1e-12, "passed": True}]},
        "mnist_cnn keras_jax TF32": {"passed": None, "rows": [row | {"precision": "float32", "passed": True}]},
        "resnet keras_torch exact": {"failed": "a worker died"},
    }
    lines = gpu_page.TABLES["certificates"](found)
    assert "| mnist_cnn keras_jax exact | **not certified** | float64 |  | 2e-09 * |  |  |  |  |  |" in lines
    assert "| mnist_cnn keras_jax TF32 |  | float32 |  | 2e-09 |  |  |  |  |  |" in lines
    assert any("no certificate | a worker died" in line for line in lines)


def test_what_brings_cuda_is_not_packed():
    whole, alone = gpu_pack.wanted()
    names = {re.split(r"[~<>=]", each)[0] for each in (*whole, *alone)}
    assert {"keras", "hydra-core", "omegaconf", "optuna", "mlflow", "mlflow-skinny", "mlxtend"} <= names
    assert names & {"torch", "tensorflow", "jax", "numpy", "pytorch-lightning"} == set()


def test_docs_say_what_was_not_run_until_it_was():
    text = (PROJECT / "docs" / "gpu.md").read_text()
    assert text == gpu_page.page(None) or text.startswith(f"{gpu_page.HEAD}On a GPU: ")
