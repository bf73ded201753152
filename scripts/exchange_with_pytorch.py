#!/usr/bin/env python3
"""Checkpoints both ways: PyTorch loads wgen's with strict=True and computes the same figures; wgen evaluates one of PyTorch's.

    .venv/bin/python scripts/exchange_with_pytorch.py runs/mnist-vae-0 ../shared/data/mnist

Exit status 1 if a figure differs by more than a relative 1e-4.
"""
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WGEN = os.path.join(ROOT, "target/release/wgen")
run, mnist = sys.argv[1], sys.argv[2]


class VAE(torch.nn.Module):
    """The class of pytorch/examples/vae/main.py."""

    def __init__(self):
        super().__init__()
        self.fc1 = torch.nn.Linear(784, 400)
        self.fc21 = torch.nn.Linear(400, 20)
        self.fc22 = torch.nn.Linear(400, 20)
        self.fc3 = torch.nn.Linear(20, 400)
        self.fc4 = torch.nn.Linear(400, 784)

    def encode(self, x):
        h1 = F.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def decode(self, z):
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))


with gzip.open(os.path.join(mnist, "t10k-images-idx3-ubyte.gz")) as f:
    images = torch.from_numpy(np.frombuffer(f.read(), np.uint8, offset=16).reshape(-1, 784).astype(np.float32) / 255)


def figures(model):
    with torch.no_grad():
        mu, logvar = model.encode(images)
        kl = (-0.5 * (1 + logvar - mu.pow(2) - logvar.exp())).double().sum().item() / len(images)
        return kl, mu, logvar, model.decode(mu)


def wgen(*arguments):
    out = subprocess.run([WGEN, *arguments, "--json"], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


def compare(folder, model, title):
    worst = 0.0
    with tempfile.TemporaryDirectory() as directory:
        codes = os.path.join(directory, "codes.safetensors")
        wgen("encode", folder, "--data", f"idx:{mnist}", "--out", codes, "--reconstructions")
        ours = load_file(codes)
    kl, mu, logvar, decoded = figures(model)
    our_kl = wgen("eval", folder, "--data", f"idx:{mnist}")["kl"]
    for name, a, b in [
        ("KL, nats an image", torch.tensor(our_kl), torch.tensor(kl)),
        ("mu", ours["mu"], mu), ("log_variance", ours["log_variance"], logvar),
        ("reconstruction at z = mu", ours["reconstructions"], decoded),
    ]:
        difference = ((a - b).abs().max() / b.abs().max()).item()
        worst = max(worst, difference)
        print(f"{title}: {name}: relative difference {difference:.2e}")
    return worst


model = VAE()
model.load_state_dict(load_file(os.path.join(run, "model.safetensors")), strict=True)
worst = compare(run, model, "wgen's checkpoint in PyTorch")

torch.manual_seed(1)
other = VAE()
with tempfile.TemporaryDirectory() as directory:
    folder = os.path.join(directory, "from-pytorch")
    os.makedirs(folder)
    shutil.copy(os.path.join(run, "config.json"), folder)
    save_file(other.state_dict(), os.path.join(folder, "model.safetensors"))
    worst = max(worst, compare(folder, other, "PyTorch's checkpoint in wgen"))
print(f"worst {worst:.2e}")
sys.exit(worst > 1e-4)
