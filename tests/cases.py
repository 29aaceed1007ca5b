"""Small tasks for every word, and the data they run on: what the parity suite goes through."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import open_dict

from experiments import data, settings
from experiments.data.spec import ExampleSpec
from experiments.fingerprint import fingerprint_of_arrays
from experiments.job import ComparisonSettings, FrameworkSettings, Job, TrackingSettings
from experiments.task import Task

PROJECT = Path(__file__).resolve().parents[1]
BASE = ["experiment=mnist_cnn", "training.batch_size=32", "training.epochs=40"]
N_TRAIN, N_TEST = 170, 100  # 170: the last batch of 32 is short
OPTIMIZERS = (
    "sgd",
    "momentum",
    "nesterov",
    "rmsprop",
    "rmsprop_centered",
    "adagrad",
    "adadelta",
    "adam",
    "amsgrad",
    "adamw",
    "adamax",
    "nadam",
    "adafactor",
    "muon",
)
NETWORKS = {  # name -> data, overrides; the kinds of parity.md's table, made small
    "mlp": ("images", ["network=mlp", "network.depth=2", "network.width=24"]),
    "cnn": ("images", ["network=cnn", "network.width=6", "network.dense_width=20"]),
    "cnn_bn": ("images", ["network=cnn_bn", "network.width=6", "network.dense_width=20"]),
    "lstm": ("sequences", ["network=lstm", "network.width=12"]),
    "gru": ("sequences", ["network=gru", "network.width=12"]),
}
MORE_NETWORKS = {
    "tanh": ("images", ["network=mlp", "network.activation=tanh"]),
    "sigmoid": ("images", ["network=mlp", "network.activation=sigmoid"]),
    "gelu": ("images", ["network=mlp", "network.activation=gelu"]),
    "leaky_relu": ("images", ["network=cnn", "network.activation=leaky_relu"]),
    "same_padding": ("images", ["network=cnn", "network.padding=same", "network.kernel_size=5", "network.width=6"]),
    "resnet": ("images", ["network=resnet", "network.width=4", "network.blocks=2"]),
    "simple": ("sequences", ["network=lstm", "network.cell=simple", "network.width=12"]),
    "deep_bidirectional_lstm": (
        "sequences",
        ["network=lstm", "network.width=8", "network.depth=2", "network.bidirectional=true"],
    ),
    "bidirectional_gru": ("sequences", ["network=gru", "network.width=8", "network.bidirectional=true"]),
    "embedding": ("tokens", ["network=lstm", "network.width=8", "network.embedding={vocabulary:20,width:5}"]),
}
REGULARIZATIONS = {
    "dropout": ["regularization.dropout=0.3"],
    "spatial_dropout": ["regularization.spatial_dropout=0.3"],
    "l1": ["regularization.l1=0.001"],
    "l2": ["regularization.l2=0.01"],
    "weight_decay": ["regularization.weight_decay=0.1", "optimizer=momentum"],
    "weight_decay_all": ["regularization.weight_decay=0.1", "regularization.exclude=[]"],
    "label_smoothing": ["regularization.label_smoothing=0.1"],
    "class_weights": ["training.class_weights=[1,2,0.5,3]"],
    "weight_averaging": ["regularization.weight_averaging=0.9"],
    "clip_value": ["regularization.clip.kind=value", "regularization.clip.limit=0.01"],
    "clip_norm": ["regularization.clip.kind=norm", "regularization.clip.limit=0.1"],
    "clip_global_norm": ["regularization.clip.kind=global_norm", "regularization.clip.limit=0.3"],
    "augmentation": ["regularization.augmentation={shift:2,flip:true,noise:0.1}"],
    "gradient_accumulation": ["training.gradient_accumulation_steps=3", "schedule=cosine"],
    "averaged_accumulation": ["training.gradient_accumulation_steps=3", "regularization.weight_averaging=0.9"],
    "jit": ["training.jit=true"],
    "cosine_warmup": ["schedule=cosine", "optimizer=nesterov"],
    "he_and_biases": ["network.initialization.kernel=he_uniform", "network.initialization.bias=fan_in_uniform"],
}
LOSSES = {
    "binary_cross_entropy": ["training.loss=binary_cross_entropy"],
    "mean_squared_error": ["training.loss=mean_squared_error", "margins.accuracy=null", "chance.accuracy=null"],
    "brier_score": ["training.loss=brier_score"],
}


def task(*overrides: str, precision: str = "float64") -> Task:
    """A task composed from conf/, four classes or values; the data is put beside it by the caller."""
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        config = compose("config", overrides=[*BASE, *overrides])
    with open_dict(config):
        config.pop("hydra", None)
        config.training.precision = precision
    return settings.task_from(config)


def dataset(kind: str, *, values: bool = False) -> data.Dataset:
    """Images (12, 12, 2), sequences (9, 5) or tokens (9,) of lengths 2 to 9; four classes, or three values."""
    rng = np.random.default_rng(5)
    n = N_TRAIN + N_TEST
    lengths = rng.integers(2, 10, n)
    inside = np.arange(9) < lengths[:, None]
    inputs = {
        "images": lambda: rng.random((n, 12, 12, 2)).astype(np.float32),
        "sequences": lambda: (rng.standard_normal((n, 9, 5)) * inside[..., None]).astype(np.float32),
        "tokens": lambda: rng.integers(1, 20, (n, 9)).astype(np.int32) * inside.astype(np.int32),
    }[kind]()
    flat = inputs.reshape(n, -1).astype(np.float64)
    scores = flat @ rng.standard_normal((flat.shape[1], 4))
    scores = (scores - scores.mean(axis=0)) / scores.std(axis=0)
    targets = (scores[:, :3] > 0).astype(np.float32) if values else scores.argmax(axis=1)
    arrays = {
        "x_train": inputs[:N_TRAIN],
        "y_train": targets[:N_TRAIN],
        "x_validation": inputs[N_TRAIN:],
        "y_validation": targets[N_TRAIN:],
        "x_test": inputs[N_TRAIN:],
        "y_test": targets[N_TRAIN:],
    }
    return data.Dataset(
        **arrays,
        spec=ExampleSpec(
            input_shape=inputs.shape[1:],
            class_names=() if values else ("a", "b", "c", "d"),
            n_values=3 if values else 0,
            vocabulary=20 if kind == "tokens" else 0,
        ),
        origin=f"random {kind}",
        fingerprint=fingerprint_of_arrays(arrays),
    )


def write_all(folder: Path) -> dict[str, Path]:
    """Every kind of data, written where workers can read it."""
    kinds = {kind: dataset(kind) for kind in ("images", "sequences", "tokens")}
    kinds["values"] = dataset("images", values=True)
    return {kind: data.write(made, folder) for kind, made in kinds.items()}


def with_network(name: str, *overrides: str, **keywords: str) -> tuple[str, Task]:
    """The data and the task of a network of NETWORKS or MORE_NETWORKS."""
    kind, network = (NETWORKS | MORE_NETWORKS)[name]
    return kind, task(*network, *overrides, **keywords)


def change(settled: Task, **parts) -> Task:
    """`change(task, training={"epochs": 1})`: the task with some numbers replaced."""
    replaced = {
        name: dataclasses.replace(getattr(settled, name), **values) if isinstance(values, dict) else values
        for name, values in parts.items()
    }
    return dataclasses.replace(settled, **replaced)


FRAMEWORKS = ComparisonSettings(name="frameworks", factor="framework", baseline=None)


def jobs(task: Task, folder: Path, *, names, seeds, executor, tuning=None) -> list[Job]:
    """What a command would ask for: the task in each framework with each seed, its files below `folder`."""
    return [
        Job(
            task=task,
            description="a test",
            framework=FrameworkSettings(name=name),
            seed=seed,
            action="train",
            sweep="latest",
            output=str(folder / "outputs"),
            comparison=FRAMEWORKS,
            tuning=tuning,
            executor=executor,
            tracking=TrackingSettings(uri="unused", reuse=True, tensorboard=False),
        )
        for seed in seeds
        for name in names
    ]
