"""A loop by hand on arrays that lie on the device: PyTorch. Prints seconds per step as JSON, the device synchronized.

python gpu_pytorch.py cuda|cpu [STEPS]
"""

import json
import sys
import time

import torch
from torch import nn

device, steps = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 400
torch.manual_seed(0)
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
images = torch.rand(5000, 1, 28, 28, device=device)
labels = torch.randint(0, 10, (5000,), device=device)
network = nn.Sequential(
    nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(1600, 128), nn.ReLU(), nn.Linear(128, 10),
).to(device)  # fmt: skip
optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()


def train(n):
    for _ in range(n):
        chosen = torch.randint(0, 5000, (64,), device=device)
        optimizer.zero_grad()
        criterion(network(images[chosen]), labels[chosen]).backward()
        optimizer.step()
    if device == "cuda":
        torch.cuda.synchronize()


train(min(20, steps))
started = time.perf_counter()
train(steps)
seconds = (time.perf_counter() - started) / steps
peak = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None
print(json.dumps({"seconds": seconds, "peak_mib": peak, "version": torch.__version__}))
