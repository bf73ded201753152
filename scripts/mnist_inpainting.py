#!/usr/bin/env python3
"""Held-out MNIST digits whose lower half is hidden, completed by the class-conditional U-Net of scripts/mnist_diffusion.sh: the share whose judged class stays, and whether
what was known came out as it was, to the last bit. By class (each digit's own label is asked for) and of the null class (nothing says which digit), masked and by RePaint.

    scripts/mnist_inpainting.py [RUN] [--judge runs/mnist-classifier] [--data ../shared/data/mnist] [--digits 200] [--mask lower-half] [--seed 0] [--guidance 1]
        [--sampler "dpmpp-2m --steps 20" "ddpm --steps 50 --jump-length 10 --jump-samples 3"] [--least 0.8]

--sampler: what is measured, each the end of a command line. The judge sees the digits before and after. Beside the share stands the one of the digits with the hidden half black.
Ends with status 1 where a share by class is below --least or a known pixel differs. Keeps a picture, digits, halves and completed ones, in RUN/inpainting.png.
"""
import argparse
import gzip
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file

NULL_CLASS = 10


def idx(path):
    with gzip.open(path) as file:
        _, _, _, dimensions = struct.unpack(">BBBB", file.read(4))
        shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
        return np.frombuffer(file.read(), np.uint8).reshape(shape)


def write_idx(folder, images, labels):
    """As the part to test on."""
    os.makedirs(folder, exist_ok=True)
    for name, values in (("t10k-images-idx3-ubyte", images), ("t10k-labels-idx1-ubyte", labels)):
        with open(f"{folder}/{name}", "wb") as file:
            file.write(struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape) + values.astype(np.uint8).tobytes())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("run", nargs="?", default="runs/mnist-diffusion")
    parser.add_argument("--wgen", default="target/release/wgen")
    parser.add_argument("--judge", default="runs/mnist-classifier")
    parser.add_argument("--data", default="../shared/data/mnist")
    parser.add_argument("--digits", type=int, default=200)
    parser.add_argument("--mask", default="lower-half")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guidance", default="1")
    parser.add_argument("--sampler", nargs="*", default=["dpmpp-2m --steps 20", "ddpm --steps 50 --jump-length 10 --jump-samples 3"])
    parser.add_argument("--least", type=float, default=0.8)
    arguments = parser.parse_args()
    images = idx(f"{arguments.data}/t10k-images-idx3-ubyte.gz")[: arguments.digits]
    labels = idx(f"{arguments.data}/t10k-labels-idx1-ubyte.gz")[: arguments.digits]
    known = images.reshape(len(images), -1).astype(np.float32) * np.float32(1 / 255)
    hidden = np.zeros((28, 28), bool)
    hidden[{"lower-half": np.s_[14:], "upper-half": np.s_[:14], "left-half": np.s_[:, :14], "right-half": np.s_[:, 14:], "centre": np.s_[7:21, 7:21]}[arguments.mask]] = True
    kept = ~hidden.reshape(-1)

    with tempfile.TemporaryDirectory() as work:

        def wgen(*options):
            subprocess.run([arguments.wgen, "-q", *options], check=True)

        def judged(name, pictures):
            write_idx(f"{work}/{name}", pictures, labels)
            wgen("encode", arguments.judge, "--data", f"idx:{work}/{name}", "--out", f"{work}/{name}.safetensors")
            return load_file(f"{work}/{name}.safetensors")["logits"].argmax(1)

        def completed(options, which, label):
            """The digits at the places `which`, asked for as of class `label`."""
            write_idx(f"{work}/part", images[which], labels[which])
            wgen("sample", arguments.run, "--data", f"idx:{work}/part", "--mask", arguments.mask, "--class", str(label), "--n", str(len(which)), "--seed", str(arguments.seed),
                 "--out", f"{work}/part.png", "--save-tensor", f"{work}/part.safetensors", *options)
            return load_file(f"{work}/part.safetensors")["images"]

        before = judged("before", images)
        halves = np.where(hidden, 0, images)
        print(f"{len(images)} digits, {arguments.mask} hidden; the judge is right of {np.mean(before == labels):.1%}")
        print(f"| sampler | asked for | judged class stays | known pixels equal |\n|---|---|---|---|\n| hidden half black | | {np.mean(judged('halves', halves) == before):.1%} | |")
        rows, good = [images, halves], True
        for sampler in arguments.sampler:
            options = ["--sampler", *sampler.split()]
            for asked in ("its class", "no class"):
                made = np.empty_like(known)
                if asked == "its class":
                    for label in np.unique(labels):
                        which = np.flatnonzero(labels == label)
                        made[which] = completed([*options, "--guidance", arguments.guidance], which, label)
                else:
                    made[:] = completed(options, np.arange(len(images)), NULL_CLASS)
                equal = np.array_equal(made[:, kept].view(np.uint32), known[:, kept].view(np.uint32))
                pictures = np.rint(made * 255).astype(np.uint8).reshape(images.shape)
                stays = float(np.mean(judged("after", pictures) == before))
                good &= equal and (stays >= arguments.least or asked == "no class")
                print(f"| {sampler} | {asked} | {stays:.1%} | {'yes' if equal else 'NO'} |", flush=True)
                rows.append(pictures)
        try:
            from PIL import Image
        except ImportError:
            pass
        else:
            Image.fromarray(np.concatenate([np.concatenate(row[:20], 1) for row in rows])).save(f"{arguments.run}/inpainting.png")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
