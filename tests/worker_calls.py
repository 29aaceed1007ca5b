"""Functions that tests run inside a worker, where one framework is imported. Each ends with `emit`."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import inspect
import operator
import os
import resource
import shutil
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np

import frameworks
from experiments import data
from experiments.contract import optional_packages
from experiments.contract.plan import FixedPlan
from experiments.execution.worker import as_fed, build, plan_for, plan_of
from experiments.parity import probes as parity
from experiments.task.alignment import touched


def _model(load, name, task, path, seed=0, devices=1):
    dataset = data.read(path)
    return build(task, dataset, framework=load(name), seed=seed, device="cpu", devices=devices), dataset


def weights_twice(load, name, task, path, emit):
    """Initial weights, and what comes back after loading their negatives."""
    model, _ = _model(load, name, task, path)
    first = model.weights()
    model.load_weights({key: -value for key, value in first.items()})
    emit((first, model.weights()))


def load_incomplete(load, name, task, path, emit):
    """What load_weights raises when a weight is missing, and when one is unknown."""
    model, _ = _model(load, name, task, path)
    weights = model.weights()
    raised = []
    for wrong in (dict(list(weights.items())[1:]), weights | {"nobody/kernel": np.zeros(1)}):
        try:
            model.load_weights(wrong)
            raised.append("nothing")
        except KeyError as error:
            raised.append(str(error))
    emit(raised)


def logits(load, name, task, path, emit):
    """Evaluation-mode logits of the test part, twice."""
    model, dataset = _model(load, name, task, path)
    inputs = dataset.x_test.astype(task.training.dtype)
    emit((model.logits(inputs), model.logits(inputs)))


def trained(load, name, task, path, emit, stop_after=None, seed=0, devices=1):
    """Losses of each epoch, number of steps, weights before and after."""
    model, dataset = _model(load, name, task, path, seed, devices)
    before, losses, steps = model.weights(), [], []

    def on_epoch_end(epoch, step_losses):
        losses.append((epoch, step_losses))
        return epoch == stop_after

    model.fit(plan_for(task, dataset, seed=seed), on_step_end=steps.append, on_epoch_end=on_epoch_end)
    logits = model.logits(as_fed(dataset.x_test, task.training.dtype))
    emit(
        {
            "losses": losses,
            "n_steps": sum(steps),
            "n_calls": len(steps),
            "before": before,
            "after": model.weights(),
            "logits": logits,
        }
    )


def stopped_after_first_epoch(load, name, task, path, emit):
    trained(load, name, task, path, emit, stop_after=0)


def saved(load, name, task, path, folder, emit):
    """Files of a trained, saved model; its logits; the logits of what the framework's own loader makes of the file."""
    model, dataset = _model(load, name, task, path)
    model.fit(plan_for(task, dataset, seed=0), on_step_end=lambda _: None, on_epoch_end=lambda *_: True)
    model.save(Path(folder))
    inputs = dataset.x_test.astype(task.training.dtype)
    expected = model.logits(inputs)
    if name.startswith("keras"):
        import keras

        found = keras.models.load_model(Path(folder) / "model.keras", safe_mode=True).predict_on_batch(inputs)
    elif name == "lightning":
        import torch

        fresh, _ = _model(load, name, task, path, seed=1)
        fresh.module.network.load_state_dict(torch.load(Path(folder) / "model.pt", weights_only=True))
        found = fresh.logits(inputs)
    else:
        fresh, _ = _model(load, name, task, path, seed=1)
        fresh.load_weights(dict(np.load(Path(folder) / "model.npz")))
        found = fresh.logits(inputs)
    emit((sorted(file.name for file in Path(folder).iterdir()), expected, found))


def optional_packages_imported(load, names, task, path, emit):
    """Those that are there once the frameworks have trained; what comes of asking for one that is installed."""
    for name in names:
        model, _ = _model(load, name, task, path)
        model.fit(plan_for(task, data.read(path), seed=0), on_step_end=lambda _: None, on_epoch_end=lambda *_: True)
    imported = optional_packages.OPTIONAL & sys.modules.keys()
    import scipy.special

    emit((imported, metadata.version("scipy"), float(scipy.special.expit(0.0))))


def compiled_graphs(load, name, task, path, emit):
    """How many graphs training compiled: TorchDynamo's count, or how many of Keras' steps are for XLA."""
    model, dataset = _model(load, name, task, path)
    made = _functions_made(name)
    model.fit(plan_for(task, dataset, seed=0), on_step_end=lambda _: None, on_epoch_end=lambda *_: True)
    if name == "lightning":
        from torch._dynamo.utils import counters

        emit(counters["stats"]["unique_graphs"])
    else:
        emit(sum(bool(keywords.get("jit_compile")) for keywords in made))


def _functions_made(name):
    """What the TensorFlow functions that are made from now on are asked for."""
    made = []
    if name == "keras":
        import tensorflow as tf

        function = tf.function
        tf.function = lambda *args, **keywords: (made.append(keywords), function(*args, **keywords))[1]
    return made


def traced_steps(load, task, path, emit):
    """How often Keras turned the training step into a graph, in one epoch."""
    import keras

    model, dataset = _model(load, "keras", task, path)
    step, traced = keras.Model.train_step, []
    keras.Model.train_step = lambda self, batch: (traced.append(1), step(self, batch))[1]
    model.fit(plan_for(task, dataset, seed=0), on_step_end=lambda _: None, on_epoch_end=lambda *_: True)
    emit(len(traced))


def pages_and_draws(load, task, path, emit):
    """Pages that were mapped anew in each epoch of Keras, how often each was drawn, pipelines that were made."""
    import tensorflow as tf

    model, dataset = _model(load, "keras", task, path)
    plan, pages, drawn, iterators = plan_for(task, dataset, seed=0), [], [], []
    batches, iterate = type(plan).batches, tf.data.Dataset.__iter__
    type(plan).batches = lambda self, epoch: (drawn.append(epoch), batches(self, epoch))[1]
    for kind in {type(tf.data.Dataset.range(1).with_options(tf.data.Options())), tf.data.Dataset}:
        kind.__iter__ = lambda self: (iterators.append(1), iterate(self))[1]

    def on_epoch_end(*_):
        pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        return False

    model.fit(plan, on_step_end=lambda _: None, on_epoch_end=on_epoch_end)
    emit((np.diff(pages), drawn, len(iterators)))


def threads(load, name, emit):
    """How many threads the framework's kernels use."""
    load(name)
    if name in ("lightning", "keras_torch"):
        import torch

        emit(torch.get_num_threads())
    elif name == "keras_jax":
        single = "--xla_cpu_multi_thread_eigen=false" in os.environ["XLA_FLAGS"]  # read when the first array is made
        emit(int(os.environ["NPROC"]) if single else -1)
    else:
        import tensorflow as tf

        tf.matmul(np.ones((500, 500)), np.ones((500, 500)))
        emit(int(os.environ["TF_NUM_INTRAOP_THREADS"]))


def tells_device_memory(load, name, emit):
    """Whether the ledger of a run on a GPU can ask for its peak."""
    emit(callable(getattr(load(name), "device_peak_bytes", None)))


def refusal(load, name, task, emit):
    """Why the framework does not build the task; "" where it does."""
    try:
        load(name).build(task, input_shape=(8, 8, 1), n_outputs=10, seed=0, device="cpu")
    except ValueError as error:
        emit(str(error))
    else:
        emit("")


def versions(load, name, emit):
    emit(load(name).versions())


def n_parameters(load, name, task, emit):
    """Numbers that the network on MNIST's images has."""
    model = load(name).build(task, input_shape=(28, 28, 1), n_outputs=10, seed=0, device="cpu")
    emit(sum(weight.size for weight in model.weights().values()))


def gpu(load, name, task, emit):
    try:
        load(name).build(task, input_shape=(8, 8, 1), n_outputs=10, seed=0, device="gpu")
        emit("built")
    except RuntimeError as error:
        emit(str(error))


def devices_on_a_mac(load, name, task, emit):
    """Where Keras on PyTorch has a network for the CPU, and computes, on a machine whose GPU it takes of its own."""
    framework = load(name)
    keras = importlib.import_module("keras")
    importlib.import_module("keras.src.backend.torch.core").DEFAULT_DEVICE = "mps"
    model = framework.build(task, input_shape=(8, 8, 1), n_outputs=10, seed=0, device="cpu")
    variables = [each.value for each in model.model.variables]
    emit({str(each.device) for each in [*variables, model.model(np.zeros((1, 8, 8, 1), "float32")), keras.ops.ones(1)]})


def refusal_of_another_backend(load, name, task, emit):
    """What a process that has computed with one backend of Keras says when it is asked for JAX."""
    load(name).build(task, input_shape=(8, 8, 1), n_outputs=10, seed=0, device="cpu")
    gpu(load, "keras_jax", task, emit)


def say(words, emit):
    for word in words:
        emit(word)


def complain(emit):
    raise ValueError("three is not two\nand a second line")


def chatter(emit):
    os.write(1, b"a banner\n")
    os.write(2, b"a warning\n")
    emit("done")


def run_out_of_memory(emit):
    raise MemoryError


def fill_the_disk(emit):
    """Write where there is never room, and fail as C++ does, which only says so."""
    try:
        with Path("/dev/full").open("w") as full:
            full.write("x")
    except OSError as error:
        raise RuntimeError(f"write failed: {error.strerror}") from None


def lose_its_folder(emit):
    log = Path("/proc/self/fd/1").readlink()
    shutil.rmtree(log.parent)
    (log.parent / "model.npz").write_bytes(b"")


def sleep(seconds, emit):
    emit(os.getpid())
    time.sleep(seconds)


def devices():
    """As a framework's probe that sees a GPU beside the CPU."""
    return ["cpu", "gpu"]


def die(signal_number, emit):
    emit("alive")
    os.kill(os.getpid(), signal_number)


def environment(emit):
    emit(dict(os.environ))


def weights_by_step(subject, load, emit):
    """The weights after each of the first 20 steps."""
    model, dataset = subject.build(load)
    plan = dataclasses.replace(parity.first_batches(subject, dataset, n_steps=20), batches_per_epoch=1)
    found = []
    model.fit(plan, on_step_end=lambda _: None, on_epoch_end=lambda *_: found.append(model.weights()))
    emit(found)


# Most of what a Keras probe takes is its beginning, which is shorter in a process that has had one.


def trained_with_each_seed(load, name, task, path, seeds, emit):
    for seed in seeds:
        trained(load, name, task, path, emit, seed=seed)


def untrained_and_free_run(subjects, load, options, emit):
    """One subject after another: its name, what `untrained` emits of it, and what `free_run`."""
    for name, subject in subjects.items():
        emitted = [name]
        parity.untrained(subject, load, emitted.append)
        parity.free_run(subject, load, options, emitted.append)
        emit(emitted)


def gradients_of_each(subjects, load, emit):
    """One subject after another: its name and its gradients."""
    for name, subject in subjects.items():
        emitted = [name]
        parity.gradients(subject, load, emitted.append)
        emit(emitted)


def broken_load(name):
    """frameworks.load, for which there is no Keras."""
    return frameworks.load({"keras": "kreas"}.get(name, name))


def trained_on(devices, load, name, task, path, emit):
    trained(load, name, task, path, emit, devices=devices)


def stopped_on(devices, load, name, task, path, emit):
    trained(load, name, task, path, emit, stop_after=0, devices=devices)


def weights_replaced_on(devices, load, name, task, path, emit):
    """Losses of a training whose weights are put back to the first ones after every epoch."""
    model, dataset = _model(load, name, task, path, devices=devices)
    first, losses = model.weights(), []

    def on_epoch_end(epoch, step_losses):
        losses.append(step_losses)
        model.load_weights(first)
        return False

    model.fit(plan_for(task, dataset, seed=0), on_step_end=lambda _: None, on_epoch_end=on_epoch_end)
    emit(losses)


def hung_on(devices, load, name, task, path, emit, *, until=lambda replicas: time.sleep(3600)):
    """Emits its own and its replicas' process numbers after an epoch, waits there, goes on."""
    model, dataset = _model(load, name, task, path, devices=devices)

    def on_epoch_end(epoch, step_losses):
        me = os.getpid()
        children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
        emit((me, [int(child) for child in children]))
        until(children)
        return False

    model.fit(plan_for(task, dataset, seed=0), on_step_end=lambda _: None, on_epoch_end=on_epoch_end)


def bereft_on(devices, load, name, task, path, emit):
    """As `hung_on`, until the first replica is dead."""

    def is_dead(pid):
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"

    def wait(replicas):
        while not is_dead(replicas[0]):
            time.sleep(0.01)

    hung_on(devices, load, name, task, path, emit, until=wait)


def overflowed_on(devices, load, task, emit):
    """Losses and weights of six float16 steps, in whose third the batch's second row is too large."""
    model = load("keras").build(task, input_shape=(12, 12, 2), n_outputs=4, seed=0, device="cpu", devices=devices)
    rng, losses = np.random.default_rng(0), []
    given = [(rng.random((32, 12, 12, 2)).astype("float32"), rng.integers(0, 4, 32)) for _ in range(6)]
    given[2][0][1] = 6e4
    plan = FixedPlan(given=given, batches_per_epoch=6, learning_rates=np.full(6, 1e-3))
    model.fit(plan, on_step_end=lambda _: None, on_epoch_end=lambda _, found: losses.append(found))
    emit((losses[0], model.weights()))


def dropped_on_two(load, task, emit):
    """What each of two Keras devices keeps of the same ones, in training."""
    model = load("keras").build(task, input_shape=(8, 8, 1), n_outputs=10, seed=0, device="cpu", devices=2)

    from frameworks.keras.backends import tensorflow_replicas as replicas

    replicas.reseed_per_replica(model.model)
    strategy = model.model.distribute_strategy
    dropout = model.model.get_layer("dropout1")
    kept = strategy.run(lambda: dropout(np.ones((4, 64), "float32"), training=True))
    emit([each.numpy() for each in strategy.experimental_local_results(kept)])


class Wrong:
    """A plan with a fault that a framework, or what stands between it and the plan, might have."""

    def __init__(self, plan, fault):
        self.plan, self.fault = plan, fault
        self.epochs, self.batches_per_step = plan.epochs, plan.batches_per_step
        self.batches_per_epoch = plan.batches_per_epoch - (fault == "a step skipped")
        self.learning_rates = plan.learning_rates[: self.epochs * self.batches_per_epoch].copy()
        if fault == "another rate":
            self.learning_rates[-3] *= 1.0001

    def batches(self, epoch):
        batches = list(self.plan.batches(epoch))
        if epoch == self.epochs - 1:
            match self.fault:
                case "a batch twice":
                    batches[2] = batches[1]
                case "two batches swapped":
                    batches[1], batches[2] = batches[2], batches[1]
                case "targets of another batch":
                    batches[1] = (batches[1][0], batches[2][1])
        return iter(batches[: self.batches_per_epoch])


def fed_wrongly(run, load, faults, emit):
    """What `train` raises where the framework is given a plan with each of the faults, and what it emits without."""
    from experiments.execution import worker

    class Framework:
        def __init__(self, fault):
            self.fault, self.versions = fault, load(run.framework).versions

        def build(self, *arguments, **keywords):
            model = load(run.framework).build(*arguments, **keywords)
            fit = model.fit
            model.fit = lambda plan, **callbacks: fit(Wrong(plan, self.fault), **callbacks)
            return model

    for number, fault in enumerate(faults):
        folder = run.folder / str(number)
        folder.mkdir()
        events = []
        try:
            worker.train(
                dataclasses.replace(run, folder=folder), lambda _, fault=fault: Framework(fault), events.append
            )
            emit((fault, type(events[-1]).__name__))
        except Exception as error:
            emit((fault, f"{type(error).__name__}: {error}"))


def trained_after_another_config(load, task, path, emit):
    """Weights that Keras trains to, and those with all that a keras.json or a variable can say said otherwise."""
    import keras
    import tensorflow as tf

    trained(load, "keras", task, path, emit)
    keras.config.set_floatx("float16")
    keras.config.set_epsilon(0.5)
    keras.config.set_image_data_format("channels_first")
    keras.config.set_max_epochs(1)
    keras.config.set_max_steps_per_epoch(1)
    tf.config.run_functions_eagerly(run_eagerly=True)
    trained(load, "keras", task, path, emit)


def trained_bare(load, name, task, path, emit):
    """Weights before and after the bare loop, how often an epoch ended, and what `fit` makes of the same plan."""
    model, dataset = _model(load, name, task, path)
    plan, ends = plan_for(task, dataset, seed=0), []
    before = model.weights()
    model.fit_bare(plan, on_epoch_end=lambda: ends.append(1))
    bare = model.weights()
    model, _ = _model(load, name, task, path)
    model.fit(plan, on_step_end=lambda *_: None, on_epoch_end=lambda *_: False)
    emit({"before": before, "bare": bare, "fit": model.weights(), "n_epochs": len(ends)})


def collector(emit):
    """Whether garbage is looked for, and whether there is much among which it is not."""
    emit((gc.isenabled(), gc.get_freeze_count() > 100_000))


def counted_steps(load, task, path, emit):
    """Python functions that Lightning calls in a step, and hooks taken from it that it does not have."""
    from pytorch_lightning import Callback, LightningModule

    model, dataset = _model(load, "lightning", task, path)
    n_calls, after = 0, []

    def count(frame, event, argument):
        nonlocal n_calls
        n_calls += event == "call"

    sys.setprofile(count)
    model.fit(
        plan_for(task, dataset, seed=0),
        on_step_end=lambda n_batches: after.append(n_calls),
        on_epoch_end=lambda *_: False,
    )
    sys.setprofile(None)
    unknown = [
        name
        for listener, names in sys.modules["frameworks.lightning.training"].UNUSED_HOOKS.items()
        for name in names
        if not callable(getattr(Callback if issubclass(listener, Callback) else LightningModule, name, None))
    ]
    emit((float(np.median(np.diff(after))), unknown))


def pages_of_memory_used_again(emit):
    """How many pages 64 MiB take from the system that were used and freed before; of 16,384."""
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        b"x" * 2**26
        pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    emit(pages)


def own_weights(load, name, task, emit):
    """What the framework draws for sequences of 12 numbers."""
    emit(load(name).build(task, input_shape=(29, 12), n_outputs=9, seed=0, device="cpu").weights())


def shipped_steps(load, name, task, path, emit):
    """How far each default that is as shipped alone moves the weights of a short training from the aligned ones."""
    others = ("aligned", *touched(task), "as_shipped")
    aligned, *found = _weights_as_shipped(load, name, task, path, ("aligned", *others))
    distances = [max(np.abs(each[key] - aligned[key]).max() for key in aligned) for each in found]
    emit(dict(zip(others, distances, strict=True)))


def shipped_weights(load, name, task, path, alignments, emit):
    """Weights after an epoch with each of the alignments, in float64."""
    emit(list(_weights_as_shipped(load, name, task, path, alignments)))


def _weights_as_shipped(load, name, task, path, alignments):
    dataset = data.read(path)
    task = dataclasses.replace(task, training=dataclasses.replace(task.training, epochs=1, precision="float64"))
    for alignment in alignments:
        chosen = dataclasses.replace(task, alignment=alignment)
        model = build(chosen, dataset, framework=load(name), seed=0, device="cpu")
        plan = plan_of(chosen, model, dataset, seed=0)
        model.fit(plan, on_step_end=lambda n: None, on_epoch_end=lambda epoch, losses: False)
        yield model.weights()


def catalogue_of(name, changed, emit):
    """What a framework tells of its defaults, where `changed` is (class, argument, value) or None."""
    found = importlib.import_module(f"frameworks.{name}.catalogue")
    if changed:
        kind, argument, value = changed
        kind = operator.attrgetter(kind)(importlib.import_module({"lightning": "torch", "keras": "keras"}[name]))
        signature = inspect.signature(kind.__init__)
        parameters = [
            each.replace(default=value) if each.name == argument else each for each in signature.parameters.values()
        ]
        kind.__init__.__signature__ = signature.replace(parameters=parameters)
    emit({word: {item: list(told) for item, told in items.items()} for word, items in found.catalogue().items()})


def load_with_defaults(changed, name):
    """The framework, its Keras with other defaults: {"layers.BatchNormalization": {"epsilon": 1e-5}}."""
    framework = frameworks.load(name)
    if name == "keras":
        for path, values in changed.items():
            init = operator.attrgetter(path)(importlib.import_module("keras")).__init__
            names = [
                each.name for each in inspect.signature(init).parameters.values() if each.default is not each.empty
            ]
            init.__defaults__ = tuple(
                values.get(argument, default) for argument, default in zip(names, init.__defaults__, strict=True)
            )
    return framework
