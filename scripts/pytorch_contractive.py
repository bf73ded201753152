#!/usr/bin/env python3
"""A contractive autoencoder trained by PyTorch as `wgen train contractive-ae` trains it, and what it reaches on the test images.

    scripts/pytorch_contractive.py ../shared/data/mnist [RUN FOLDER]

Tied 784-256 sigmoid, squared error of an image plus lambda times the squared norm of its encoder's Jacobian, Adam 1e-3, batches of 128,
6 epochs, lambda 0.08; initial weights and shuffles are PyTorch's own. With the folder of a run at that lambda (runs/cae-0.08 of
scripts/mnist_autoencoders.sh) it ends with an error where the two differ by more than 5 %. Needs numpy and torch.
"""
import gzip
import json
import os
import subprocess
import sys

import numpy as np
import torch

from pytorch_models import Contractive

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DATA, RUN = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
PENALTY, EPOCHS, BATCH, RATE = 0.08, 6, 128, 1e-3


def images(part):
    with gzip.open(os.path.join(DATA, f"{part}-images-idx3-ubyte.gz")) as file:
        return torch.from_numpy(np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784).astype(np.float32) / 255)


def squared_norms(model, code):
    """sum_j (h_j (1 - h_j))^2 sum_i W_ji^2 (Rifai et al. 2011)."""
    return (code * (1 - code)).square() @ model.encoder[0].weight.square().sum(1)


def main():
    torch.manual_seed(0)
    train, test = images("train"), images("t10k")
    model = Contractive([784, 256])
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(train)).split(BATCH):
            x = train[rows]
            code = model.encode(x)
            error = (model.decode(code) - x).square().sum(1)
            optimizer.zero_grad()
            (error + PENALTY * squared_norms(model, code)).mean().backward()
            optimizer.step()
    # The closed form and autograd's own Jacobian, on a few.
    few = test[:16]
    by_columns, closed = model.squared_norms(few), squared_norms(model, model.encode(few))
    if not torch.allclose(by_columns, closed, rtol=1e-4):
        sys.exit(f"the closed form is off: {by_columns} against {closed}")
    with torch.no_grad():
        code = model.encode(test)
        found = {
            "squared_error": (model.decode(code) - test).square().sum(1).mean().item(),
            "jacobian_norm": squared_norms(model, code).mean().item(),
        }
    print("PyTorch:", found)
    if RUN is None:
        return
    command = [os.path.join(ROOT, "target/release/wgen"), "-q", "eval", RUN, "--data", f"idx:{DATA}", "--json"]
    own = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for name, expected in found.items():
        value = own[name]
        print(f"wgen: {name} {value:.4f}, {100 * (value / expected - 1):+.2f} % of PyTorch's")
        if abs(value / expected - 1) > 0.05:
            sys.exit(f"{name} differs by more than 5 %")


main()
