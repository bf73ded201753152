#!/usr/bin/env python3
"""What the autoencoder's figures stand beside: PCA at the same size of code, and a linear probe's accuracy on its codes.

    scripts/pca_and_probe.py ../shared/data/mnist [runs/mnist-ae-0 ...]

Needs numpy and, for the probe, torch and safetensors. PCA is fitted on the training images; errors are sums over the pixels of a test
image, in [0, 1].
"""
import gzip
import os
import subprocess
import sys
import tempfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DATA, RUNS = sys.argv[1], sys.argv[2:]


def images(part):
    with gzip.open(os.path.join(DATA, f"{part}-images-idx3-ubyte.gz")) as file:
        return np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784).astype(np.float64) / 255


def pca():
    train, test = images("train"), images("t10k")
    mean = train.mean(0)
    _, vectors = np.linalg.eigh(np.cov((train - mean).T))
    for count in (16, 25, 30, 32, 64):
        basis = vectors[:, -count:]
        kept = (test - mean) @ basis
        error = ((test - mean - kept @ basis.T) ** 2).sum(1).mean()
        print(f"PCA, {count} components: {error:.2f}")


def probe(run):
    import torch
    from safetensors.torch import load_file
    with tempfile.TemporaryDirectory() as folder:
        parts = []
        for more in (["--training-part"], []):
            file = os.path.join(folder, "codes.safetensors")
            subprocess.run([os.path.join(ROOT, "target/release/wgen"), "-q", "encode", run, "--data", f"idx:{DATA}", "--out", file, *more], check=True)
            parts.append(load_file(file))
    (train, labels), (test, test_labels) = [(p["code"], p["labels"].long()) for p in parts]
    mean, deviation = train.mean(0), train.std(0) + 1e-6
    train, test = (train - mean) / deviation, (test - mean) / deviation
    torch.manual_seed(0)
    layer = torch.nn.Linear(train.shape[1], 10)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)
    for epoch in range(20):
        for batch in torch.randperm(len(train)).split(1000):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(layer(train[batch]), labels[batch]).backward()
            optimizer.step()
    accuracy = (layer(test).argmax(1) == test_labels).float().mean().item()
    print(f"{run}: a linear probe on its codes is right on {accuracy:.4f} of the test images")


pca()
for run in RUNS:
    probe(run)
