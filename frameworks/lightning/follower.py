"""Replica 1, 2, ... of a run on several devices: a process that trains its share, and ends with the worker."""

from __future__ import annotations

import os
import pickle
import sys
import threading

import numpy as np
import torch.distributed as dist

from frameworks.lightning import replicas, training

STDIN = 0


def follow() -> None:
    """Train what the worker tells through stdin; replica 0 alone reports, decides and keeps."""
    share: replicas.Share = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_worker, daemon=True).start()
    training.settle(share.task, seed=_own_seed(share.seed, share.replica))
    store = dist.TCPStore(replicas.HOST, share.port, share.devices, is_master=False)
    store.add("ready", 1)
    replicas.join(store, device=share.device, devices=share.devices, replica=share.replica)
    training.fit(
        training.Learner(share.network, share.task),
        share.plan,
        device=share.device,
        devices=share.devices,
        replica=share.replica,
        on_step_end=lambda: None,
        on_epoch_end=lambda *_: False,  # never asked
    )
    dist.destroy_process_group()


def _own_seed(seed: int, replica: int) -> int:
    """Of the replica's dropout masks: no other replica's, nor another run's."""
    return int(np.random.SeedSequence([seed, replica]).generate_state(1)[0])


def _end_with_worker() -> None:
    """The worker holds the other end of stdin: when it is closed, he is gone, however he died."""
    while os.read(STDIN, 1):
        pass
    os._exit(1)
