#!/usr/bin/env python3
"""Trains the diffusion model on toy:swissroll and toy:ring8 and measures the energy distance of 10,000 samples to fresh draws.

    scripts/diffusion_toys.py [--data swissroll ring8] [--steps N] [--draws N] [more arguments of wgen train diffusion ...]

Needs numpy and safetensors. The distance is the V-statistic, the mean of 5 draws (or --draws); it and the deviation of a single draw's are given as
multiples of the mean over 50 pairs of real draws of that size. Asked: at most 3 with all ancestral steps, 4 with 50 DDIM steps; ring8 also meets the GAN's bars (scripts/gan_toys.py).
The real draws are made here, not by wgen.
"""
import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np
from safetensors.numpy import load_file

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from gan_toys import figures

RECOMMENDED = ["--batch", "512", "--lr", "2e-3", "--lr-schedule", "cosine", "--ema", "0.999"]


def real(name, count, rng):
    u, noise = rng.random(count), rng.standard_normal((count, 2)) * 0.05
    if name == "ring8":
        angle = np.floor(u * 8) * np.pi / 4
        points = 2 * np.stack([np.cos(angle), np.sin(angle)], 1)
    else:
        t = 1.5 * np.pi * (1 + 2 * u)
        mean, scale = np.array([2.0, 0.2122065907891938]), 6.7890946109714
        points = (np.stack([t * np.cos(t), t * np.sin(t)], 1) - mean) / scale
    return (points + noise).astype(np.float32)


def mean_distance(a, b):
    total = 0.0
    for part in np.array_split(a, max(1, len(a) // 1000)):
        squares = (part**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * part @ b.T
        total += np.sqrt(np.maximum(squares, 0, out=squares), out=squares).sum(dtype=np.float64)
    return total / len(a) / len(b)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", nargs="+", default=["swissroll", "ring8"])
    parser.add_argument("--steps", default="20000")
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--wgen", default="target/release/wgen")
    parser.add_argument("--keep", action="store_true", help="take the runs that are there")
    arguments, more = parser.parse_known_args()
    count, passed = 10_000, True
    for name in arguments.data:
        out, begin = f"runs/{name}-diffusion", time.time()
        if not (arguments.keep and os.path.exists(out)):
            subprocess.run(["rm", "-rf", out], check=True)
            subprocess.run([arguments.wgen, "-q", "train", "diffusion", "--data", f"toy:{name}:200000", "--steps", arguments.steps, "--out", out,
                            "--checkpoint-steps", arguments.steps, *(more or RECOMMENDED)], check=True)
        seconds = time.time() - begin
        rng = np.random.default_rng(0)
        within = lambda draws: [mean_distance(d, d) for d in draws]
        between = []
        for _ in range(arguments.pairs):
            a, b = real(name, count, rng), real(name, count, rng)
            between.append(2 * mean_distance(a, b) - sum(within([a, b])))
        base = float(np.mean(between))
        for what, limit, options in [("ancestral", 3, ["--sampler", "ddpm"]), ("ddim 50", 4, ["--sampler", "ddim", "--steps", "50"])]:
            file = f"{out}/{what.replace(' ', '-')}.safetensors"
            subprocess.run([arguments.wgen, "-q", "sample", out, *options, "--n", str(count), "--out", file.replace("safetensors", "png"),
                            "--save-tensor", file], check=True)
            samples = load_file(file)["images"]
            own = mean_distance(samples, samples)
            draws = [real(name, count, rng) for _ in range(arguments.draws)]
            distances = [2 * mean_distance(samples, d) - own - w for d, w in zip(draws, within(draws))]
            distance = float(np.mean(distances))
            found = {"data": name, "sampler": what, "times_real": distance / base, "draw_deviation": float(np.std(distances)) / base, "limit": limit,
                     "real": base, "training_seconds": seconds}
            ok = distance <= limit * base
            if name == "ring8":
                modes = figures(samples)
                ok &= modes["near"] >= 0.9 and modes["least_share"] >= 0.06 and 0.3 <= modes["deviations"][0] and modes["deviations"][1] <= 1.5
                found.update(modes)
            passed &= ok
            print(json.dumps({**found, "passed": bool(ok)}), flush=True)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
