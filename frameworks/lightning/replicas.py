"""Several devices that share one run, by DDP: a process each. The worker is replica 0, and starts the others.

Lightning's own launchers do not fit a worker: one runs the command again, the others lose what callbacks hold.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from experiments.contract.plan import Plan
from experiments.task import Task

BACKENDS = {"cpu": "gloo", "gpu": "nccl"}
HOST = "127.0.0.1"
NO_LIMIT = timedelta(days=30)  # the others wait while replica 0 evaluates; the executor limits the time of a run
EXIT_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class ReplicaJob:
    """What replica 1, 2, ... of `devices` is sent: it trains `network` on its rows of the plan's batches."""

    task: Task
    network: nn.Module
    plan: Plan
    seed: int
    device: str
    devices: int
    replica: int
    port: int


class ThisMachine(LightningEnvironment):
    """Processes that are there already, one per device."""

    def __init__(self, replica: int) -> None:
        super().__init__()
        self.replica = replica

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return self.replica


def strategy(*, device: str, replica: int) -> DDPStrategy:
    """Lightning's DDP in the group that was joined before."""
    return DDPStrategy(cluster_environment=ThisMachine(replica), process_group_backend=BACKENDS[device])


def join(store: dist.TCPStore, *, device: str, devices: int, replica: int) -> None:
    """Enter the group; returns when all are in it.

    Args:
        store: Where the replicas meet.
        device: "cpu" or "gpu".
        devices: How many replicas there are.
        replica: Which of them this process is, from 0.
    """
    dist.init_process_group(BACKENDS[device], store=store, rank=replica, world_size=devices, timeout=NO_LIMIT)


@contextmanager
def replica_group(
    network: nn.Module, plan: Plan, *, task: Task, seed: int, device: str, devices: int
) -> Iterator[None]:
    """Within it, this process is replica 0 of `devices`, and the others train beside it; does nothing for one device.

    Args:
        network: Built, with the weights to begin with; each replica gets a copy.
        plan: The whole batches; each replica takes its rows.
        task: What the network was built for.
        seed: The run's; each replica's dropout masks have a seed of their own, made from it.
        device: "cpu" or "gpu".
        devices: How many replicas there are.

    Raises:
        RuntimeError: If a replica ends before training.
    """
    if devices == 1:
        yield
        return
    store = dist.TCPStore(HOST, 0, devices, is_master=True, wait_for_workers=False)
    others: list[subprocess.Popen[bytes]] = []
    try:
        for replica in range(1, devices):
            others.append(_start())
            job = ReplicaJob(
                task=task,
                network=network,
                plan=plan,
                seed=seed,
                device=device,
                devices=devices,
                replica=replica,
                port=store.port,
            )
            _send(others[-1], job)
        while store.add("ready", 0) < len(others):
            _require_alive(others)
            time.sleep(0.02)
        join(store, device=device, devices=devices, replica=0)
        yield
        for process in others:
            process.wait(EXIT_TIMEOUT_SECONDS)
    finally:
        for process in others:
            process.kill()
            process.wait()
        if dist.is_initialized():
            dist.destroy_process_group()


def _start() -> subprocess.Popen[bytes]:
    """A fresh interpreter that imports what this one does: a fork would not survive a GPU that was touched."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-P", "-m", "frameworks.lightning.replica_process"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)


def _send(process: subprocess.Popen[bytes], job: ReplicaJob) -> None:
    """Through a pipe that stays open: its end, whatever this process dies of, is the other's."""
    assert process.stdin is not None
    try:
        pickle.dump(job, process.stdin)
        process.stdin.flush()
    except BrokenPipeError:
        process.wait()
        _require_alive([process])


def _require_alive(others: list[subprocess.Popen[bytes]]) -> None:
    for replica, process in enumerate(others, start=1):
        if process.poll() is not None:
            raise RuntimeError(f"replica {replica} ended with exit code {process.returncode}; see the log")
