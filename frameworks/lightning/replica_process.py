"""Replica 1, 2, ... of a run on several devices: a process that trains on its rows, and ends with the worker."""

from __future__ import annotations

import os
import pickle
import sys
import threading

import numpy as np
import torch.distributed as dist

from frameworks.lightning import replicas, training

STDIN = 0


def main() -> None:
    """Train what the worker sends through stdin; replica 0 alone reports, decides and keeps."""
    job: replicas.ReplicaJob = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_worker, daemon=True).start()
    training.configure_process(job.task, seed=_own_seed(job.seed, job.replica))
    store = dist.TCPStore(replicas.HOST, job.port, job.devices, is_master=False)
    store.add("ready", 1)
    replicas.join(store, device=job.device, devices=job.devices, replica=job.replica)
    training.fit(
        training.TaskModule(job.network, job.task),
        job.plan,
        device=job.device,
        devices=job.devices,
        replica=job.replica,
        on_step_end=lambda _: None,
        on_epoch_end=lambda *_: False,  # never asked
    )
    dist.destroy_process_group()


def _own_seed(seed: int, replica: int) -> int:
    """Of the replica's dropout masks: no other replica's, nor another run's."""
    return int(np.random.SeedSequence([seed, replica]).generate_state(1)[0])


def _end_with_worker() -> None:
    """The worker holds the other end of stdin: when it is closed, the worker is gone, whatever it died of."""
    while os.read(STDIN, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
