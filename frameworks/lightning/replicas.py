"""Several devices that share one run, by DDP: a process each. The worker is replica 0; the others follow it.

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
FOLLOW = "from frameworks.lightning.follower import follow; follow()"
NO_LIMIT = timedelta(days=30)  # followers wait while replica 0 evaluates; the executor limits the time of a run
GOODBYE_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a follower is told: replica 1, 2, ... of `devices` trains `network` on its rows of the plan's batches."""

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
    """Enter the group; returns when all are in it."""
    dist.init_process_group(BACKENDS[device], store=store, rank=replica, world_size=devices, timeout=NO_LIMIT)


@contextmanager
def followed(network: nn.Module, plan: Plan, *, task: Task, seed: int, device: str, devices: int) -> Iterator[None]:
    """Within it, this process is replica 0 of `devices`, and the others train beside it; does nothing for one device.

    Raises:
        RuntimeError: If a follower ends before training.
    """
    if devices == 1:
        yield
        return
    store = dist.TCPStore(HOST, 0, devices, is_master=True, wait_for_workers=False)
    followers: list[subprocess.Popen[bytes]] = []
    try:
        for replica in range(1, devices):
            followers.append(_start())
            share = Share(
                task=task,
                network=network,
                plan=plan,
                seed=seed,
                device=device,
                devices=devices,
                replica=replica,
                port=store.port,
            )
            _tell(followers[-1], share)
        while store.add("ready", 0) < len(followers):
            _require_alive(followers)
            time.sleep(0.02)
        join(store, device=device, devices=devices, replica=0)
        yield
        for follower in followers:
            follower.wait(GOODBYE_SECONDS)
    finally:
        for follower in followers:
            follower.kill()
            follower.wait()
        if dist.is_initialized():
            dist.destroy_process_group()


def _start() -> subprocess.Popen[bytes]:
    """A fresh interpreter that imports what this one does: a fork would not survive a GPU that was touched."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-P", "-c", FOLLOW], stdin=subprocess.PIPE, env=environment)


def _tell(follower: subprocess.Popen[bytes], share: Share) -> None:
    """Through a pipe that stays open: its end, whatever this process dies of, is the follower's."""
    assert follower.stdin is not None
    try:
        pickle.dump(share, follower.stdin)
        follower.stdin.flush()
    except BrokenPipeError:
        follower.wait()
        _require_alive([follower])


def _require_alive(followers: list[subprocess.Popen[bytes]]) -> None:
    for replica, follower in enumerate(followers, start=1):
        if follower.poll() is not None:
            raise RuntimeError(
                f"a follower (replica {replica}) ended with exit code {follower.returncode}; see the log"
            )
