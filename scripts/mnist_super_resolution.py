#!/usr/bin/env python3
"""MNIST digits of 28 x 28 made of their 14 x 14 by a SuperResModel (Dhariwal & Nichol 2021; levels of 32 and 32 channels): trained where there is no run yet, then held-out
digits: the share whose judged class is that of the digit itself, the RMS distance of their 2 x 2 means to the small picture, and the squared error of the mean of
eight samples beside bilinear interpolation's.

    scripts/mnist_super_resolution.py [RUN] [--judge runs/mnist-classifier] [--data ../shared/data/mnist] [--digits 200] [--steps 2000] [--batch 32]
        [--sampler "dpmpp-2m --steps 20"]

Keeps a picture, small digits, bilinear ones, samples and the digits themselves, in RUN/super_resolution.png. Needs numpy, safetensors, Pillow.
"""
import argparse
import os
import subprocess
import tempfile
import time

import numpy as np
from safetensors.numpy import load_file

from mnist_inpainting import idx, write_idx

SEEDS = 8


def means(x):
    return x.reshape(len(x), 14, 2, 14, 2).mean((2, 4))


def bilinear(small):
    """Half-pixel centres, clamped: along one axis 3/4 of the pixel, 1/4 of its neighbour."""
    def along(x, axis):
        before, after = np.roll(x, 1, axis), np.roll(x, -1, axis)
        first, last = [slice(None)] * 3, [slice(None)] * 3
        first[axis], last[axis] = slice(0, 1), slice(-1, None)
        before[tuple(first)], after[tuple(last)] = x[tuple(first)], x[tuple(last)]
        pair = np.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
        shape = list(x.shape)
        shape[axis] *= 2
        return pair.reshape(shape)
    return along(along(small, 1), 2)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("run", nargs="?", default="runs/mnist-super-resolution")
    parser.add_argument("--wgen", default="target/release/wgen")
    parser.add_argument("--judge", default="runs/mnist-classifier")
    parser.add_argument("--data", default="../shared/data/mnist")
    parser.add_argument("--digits", type=int, default=200)
    parser.add_argument("--steps", default="2000")
    parser.add_argument("--batch", default="32")
    parser.add_argument("--sampler", default="dpmpp-2m --steps 20")
    arguments = parser.parse_args()

    def wgen(*options):
        subprocess.run([arguments.wgen, "-q", *options], check=True)

    if not os.path.exists(f"{arguments.judge}/model.safetensors"):
        wgen("train", "classifier", "--data", f"idx:{arguments.data}", "--epochs", "8", "--lr-schedule", "cosine", "--out", arguments.judge)
    if not os.path.exists(f"{arguments.run}/model.safetensors"):
        began = time.time()
        wgen("train", "adm", "--data", f"idx:{arguments.data}", "--low-res", "14", "--channel-mult", "1,1", "--prediction", "v", "--schedule", "cosine",
             "--steps", arguments.steps, "--batch", arguments.batch, "--lr", "1e-3", "--lr-warmup", "200", "--lr-schedule", "cosine", "--clip", "1",
             "--ema", "0.995", "--no-previews", "--out", arguments.run)
        print(f"trained {arguments.steps} steps of {arguments.batch} in {time.time() - began:.0f} s", flush=True)
    images = idx(f"{arguments.data}/t10k-images-idx3-ubyte.gz")[: arguments.digits]
    labels = idx(f"{arguments.data}/t10k-labels-idx1-ubyte.gz")[: arguments.digits]
    known = images / 255.0
    small = means(known)
    smooth = bilinear(small)

    with tempfile.TemporaryDirectory() as work:

        def judged(name, pictures):
            write_idx(f"{work}/{name}", pictures, labels)
            wgen("encode", arguments.judge, "--data", f"idx:{work}/{name}", "--out", f"{work}/{name}.safetensors")
            return load_file(f"{work}/{name}.safetensors")["logits"].argmax(1)

        def bytes_of(x):
            return np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)

        before = judged("before", images)
        write_idx(f"{work}/part", images, labels)
        made = []
        for seed in range(SEEDS):
            wgen("sample", arguments.run, "--low-res", f"idx:{work}/part", "--n", str(len(images)), "--seed", str(seed), "--out", f"{work}/x.png",
                 "--save-tensor", f"{work}/x.safetensors", "--sampler", *arguments.sampler.split())
            made.append(load_file(f"{work}/x.safetensors")["images"].reshape(len(images), 28, 28))
        rms = np.sqrt(np.mean((means(made[0]) - small) ** 2))
        stays = np.mean(judged("after", bytes_of(made[0])) == before)
        of_bilinear = np.mean(judged("smooth", bytes_of(smooth)) == before)
        error = np.mean((np.mean(made, 0) - known) ** 2)
        print(f"{len(images)} digits, 14 to 28, {arguments.sampler}; the judge is right of {np.mean(before == labels):.1%}")
        print(f"judged class stays: {stays:.1%} (bilinear {of_bilinear:.1%})")
        print(f"RMS of the 2 x 2 means to the small picture: {rms:.4f}")
        print(f"squared error of the mean of {SEEDS} samples: {error:.5f}; of one {np.mean((made[0] - known) ** 2):.5f}; bilinear {np.mean((smooth - known) ** 2):.5f}")
        rows = [bytes_of(np.repeat(np.repeat(small, 2, 1), 2, 2)), bytes_of(smooth), bytes_of(made[0]), bytes_of(made[1]), images]
        try:
            from PIL import Image
        except ImportError:
            return
        Image.fromarray(np.concatenate([np.concatenate(row[:20], 1) for row in rows])).save(f"{arguments.run}/super_resolution.png")


if __name__ == "__main__":
    main()
