"""A loop as PyTorch's tutorials write it: DataLoaders over TensorDatasets, nothing tuned.

python plain_pytorch.py DATA.npz --network cnn --epochs 5
DATA.npz holds x_train, y_train, x_test, y_test as the task has them: float32, channels last; a sequence ends in zeros.
Prints one JSON line: seconds of each epoch, test accuracy, seconds from the start to the end, peak memory, weights.
"""

import time

started = time.perf_counter()
import argparse
import json
import os
import resource

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--network", choices=["mlp", "cnn", "lstm", "resnet"], required=True)
parser.add_argument("--optimizer", choices=["sgd", "momentum", "adam"], default="adam")
parser.add_argument("--learning-rate", type=float, default=1e-3)
parser.add_argument("--label-smoothing", type=float, default=0.0)
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--threads", type=int, help="PyTorch takes all cores where nothing is said")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
if args.threads:
    os.environ["OMP_NUM_THREADS"] = str(args.threads)

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, TensorDataset

if args.threads:
    torch.set_num_threads(args.threads)
torch.manual_seed(args.seed)
with np.load(args.data) as arrays:
    x_train, y_train, x_test, y_test = (
        torch.from_numpy(arrays[name]) for name in ("x_train", "y_train", "x_test", "y_test")
    )
if x_train.ndim == 4:
    x_train, x_test = (images.permute(0, 3, 1, 2).contiguous() for images in (x_train, x_test))
n_classes = int(y_train.max()) + 1
channels = x_train.shape[1]


class Block(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, inputs):
        outputs = torch.relu(self.norm1(self.conv1(inputs)))
        return torch.relu(self.norm2(self.conv2(outputs)) + self.shortcut(inputs))


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(x_train.shape[2], 64, batch_first=True)
        self.logits = nn.Linear(64, n_classes)

    def forward(self, inputs):
        lengths = (inputs != 0).any(dim=2).sum(dim=1)
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        return self.logits(self.lstm(packed)[1][0][-1])


def build():
    match args.network:
        case "mlp":
            return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, n_classes))
        case "cnn":
            return nn.Sequential(
                nn.Conv2d(channels, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
                nn.Flatten(), nn.Linear(1600, 128), nn.ReLU(), nn.Linear(128, n_classes),
            )  # fmt: skip
        case "lstm":
            return Lstm()
        case "resnet":
            return nn.Sequential(
                nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
                Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2),
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, n_classes),
            )  # fmt: skip


trainset, testset = TensorDataset(x_train, y_train), TensorDataset(x_test, y_test)
trainloader = DataLoader(trainset, batch_size=args.batch_size, shuffle=True)
testloader = DataLoader(testset, batch_size=args.batch_size)
network = build()
criterion = nn.CrossEntropyLoss(label_smoothing=args.label_smoothing)
if args.optimizer == "adam":
    optimizer = torch.optim.Adam(network.parameters(), lr=args.learning_rate)
else:
    momentum = 0.9 if args.optimizer == "momentum" else 0.0
    optimizer = torch.optim.SGD(network.parameters(), lr=args.learning_rate, momentum=momentum)

epoch_seconds = []
for _ in range(args.epochs):
    start = time.perf_counter()
    network.train()
    for inputs, labels in trainloader:
        optimizer.zero_grad()
        loss = criterion(network(inputs), labels)
        loss.backward()
        optimizer.step()
    epoch_seconds.append(time.perf_counter() - start)
network.eval()
correct = 0
with torch.no_grad():
    for inputs, labels in testloader:
        correct += (network(inputs).argmax(1) == labels).sum().item()
result = {
    "epoch_seconds": epoch_seconds,
    "test_accuracy": correct / len(testset),
    "total_seconds": time.perf_counter() - started,
    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "n_weights": sum(each.numel() for name, each in network.state_dict().items() if "num_batches" not in name),
}
print(json.dumps(result))
