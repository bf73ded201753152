#!/usr/bin/env python3
"""Trains the GAN on toy:ring8 for three seeds and counts what of 10,000 samples lies where.

    scripts/gan_toys.py [--seeds 0 1 2] [--steps N] [more arguments of wgen train gan ...]

Needs numpy and safetensors. A sample is at a mode within 3 sigma of it (sigma 0.05; of a perfect generator's 98.9 % are).
"""
import argparse
import json
import math
import subprocess
import sys

import numpy as np
from safetensors.numpy import load_file

SIGMA = 0.05
RECOMMENDED = ["--loss", "wasserstein", "--discriminator-steps", "5", "--gradient-penalty", "0.1", "--lr", "1e-3", "--lr-schedule", "cosine",
               "--beta1", "0.5", "--beta2", "0.9", "--batch", "256", "--ema", "0.999"]


def figures(samples):
    angles = 2 * math.pi * np.arange(8) / 8
    modes = 2 * np.stack([np.cos(angles), np.sin(angles)], 1)
    distances = np.linalg.norm(samples[:, None] - modes[None], axis=2)
    nearest = distances.argmin(1)
    near = distances.min(1) < 3 * SIGMA
    shares, deviations = [], []
    for mode in range(8):
        own = samples[(nearest == mode) & near]
        shares.append(len(own) / len(samples))
        deviations.append(float(np.sqrt(((own - own.mean(0)) ** 2).mean()) / SIGMA) if len(own) > 1 else 0.0)
    return {"near": float(near.mean()), "least_share": min(shares), "most_share": max(shares),
            "deviations": [min(deviations), max(deviations)]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", default="4000")
    parser.add_argument("--wgen", default="target/release/wgen")
    arguments, more = parser.parse_known_args()
    passed = True
    for seed in arguments.seeds:
        out = f"runs/ring8-gan-{seed}"
        subprocess.run(["rm", "-rf", out], check=True)
        subprocess.run([arguments.wgen, "-q", "train", "gan", "--data", "toy:ring8", "--steps", arguments.steps, "--seed", str(seed),
                        "--out", out, *(more or RECOMMENDED)], check=True)
        subprocess.run([arguments.wgen, "-q", "sample", out, "--n", "10000", "--out", f"{out}/samples.png", "--save-tensor",
                        f"{out}/samples.safetensors"], check=True)
        found = figures(load_file(f"{out}/samples.safetensors")["images"])
        ok = found["near"] >= 0.9 and found["least_share"] >= 0.06 and 0.3 <= found["deviations"][0] and found["deviations"][1] <= 1.5
        passed &= ok
        print(json.dumps({"seed": seed, **found, "passed": ok}), flush=True)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
