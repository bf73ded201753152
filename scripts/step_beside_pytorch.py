#!/usr/bin/env python3
"""One training step of the default VAE in wgen beside PyTorch eager on the CPU, taking turns on one machine.

    cargo build --release --example step_time
    .venv/bin/python scripts/step_beside_pytorch.py [ROUNDS] [STEPS]

Prints the medians and the median of the paired ratios (wgen's rate over PyTorch's).
"""
import os
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 30


class VAE(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc21, self.fc22 = torch.nn.Linear(784, 400), torch.nn.Linear(400, 20), torch.nn.Linear(400, 20)
        self.fc3, self.fc4 = torch.nn.Linear(20, 400), torch.nn.Linear(400, 784)

    def forward(self, x):
        h = F.relu(self.fc1(x))
        mu, logvar = self.fc21(h), self.fc22(h)
        std = torch.exp(0.5 * logvar)
        z = mu + torch.randn_like(std) * std
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar


model = VAE()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
data = torch.rand(12800, 784)


def torch_round():
    begin = time.perf_counter()
    for i in range(steps):
        x = data[(i % 100) * 128:(i % 100 + 1) * 128]
        optimizer.zero_grad()
        y, mu, logvar = model(x)
        loss = F.binary_cross_entropy(y, x, reduction="sum") - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        loss.backward()
        optimizer.step()
    return (time.perf_counter() - begin) * 1e3 / steps


wgen = subprocess.Popen([os.path.join(ROOT, "target/release/examples/step_time"), str(rounds), str(steps)],
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wgen_round():
    wgen.stdin.write("\n")
    wgen.stdin.flush()
    return float(wgen.stdout.readline())


torch_round()
pairs = []
for i in range(rounds):
    pair = [None, None]
    for which in ([0, 1] if i % 2 else [1, 0]):
        pair[which] = wgen_round() if which == 0 else torch_round()
    pairs.append(pair)
ratios = sorted(t / w for w, t in pairs)
print(f"wgen            {statistics.median(w for w, _ in pairs):7.2f} ms a step (best {min(w for w, _ in pairs):.2f})")
print(f"PyTorch {torch.__version__}  {statistics.median(t for _, t in pairs):7.2f} ms a step (best {min(t for _, t in pairs):.2f})")
print(f"wgen's rate over PyTorch's: median of {rounds} paired ratios {statistics.median(ratios):.3f} "
      f"({ratios[0]:.3f} to {ratios[-1]:.3f})")
