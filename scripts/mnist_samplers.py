#!/usr/bin/env python3
"""Every sampler at 5, 10, 20 and 50 calls of the class-conditional U-Net of scripts/mnist_diffusion.sh, one set of noises: Frechet distance of samples by class
in turn, and the RMS distance of 64 of them to 250 steps of DDIM from the same noise, which takes x_0 where it is clipped to be what the network said, as the rows of
all solvers do (--use-clipped-model-output true; diffusers' pipelines keep the prediction's noise instead, another path: "ddim").

    scripts/mnist_samplers.py [RUN] [--judge runs/mnist-classifier] [--data idx:../shared/data/mnist] [--samples 300] [--first 1000] [--calls 5 10 20 50] [--only NAME...]

What was measured stays in RUN/samplers.jsonl and RUN/distances.jsonl and is not measured again. The comparisons that are asked for (DDIM at 50 calls, 2M at 10) are of --first samples.
Draws RUN/samplers.svg (Frechet distance against calls; needs matplotlib) and prints a table.
"""
import argparse
import json
import os
import subprocess
import tempfile

import numpy as np
from safetensors.numpy import load_file, save_file

from judged import Kept, judge

# Cosine betas reach a sigma of 2e4, from which Heun's first tangent says nothing: Karras' levels begin at 80.
KARRAS = ["--spacing", "karras", "--sigma-max", "80"]
TRAILING = ["--spacing", "trailing"]
CLIPPED = ["--sampler", "ddim", *TRAILING, "--use-clipped-model-output", "true"]
KINDS = {
    "ddim": ["--sampler", "ddim", *TRAILING],
    "ddim, clipped": CLIPPED,
    "euler, Karras": ["--sampler", "euler", *KARRAS],
    "ddpm": ["--sampler", "ddpm", *TRAILING],
    "euler-a, Karras": ["--sampler", "euler-a", *KARRAS],
    "heun, Karras": ["--sampler", "heun", *KARRAS],
    "dpmpp-2m": ["--sampler", "dpmpp-2m", *TRAILING],
    "dpmpp-2m, Karras": ["--sampler", "dpmpp-2m", *KARRAS],
    "dpmpp-2m-sde": ["--sampler", "dpmpp-2m-sde", *TRAILING],
    "unipc": ["--sampler", "unipc", *TRAILING],
    "unipc, Karras": ["--sampler", "unipc", *KARRAS],
}
# Noises that are compared in pairs.
PAIRED = 64
DRAWS = {"ddpm", "euler-a, Karras", "dpmpp-2m-sde"}


def steps_of(kind, calls):
    return (calls + 1) // 2 if kind.startswith("heun") else calls


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("run", nargs="?", default="runs/mnist-diffusion")
    parser.add_argument("--wgen", default="target/release/wgen")
    parser.add_argument("--judge", default="runs/mnist-classifier")
    parser.add_argument("--data", default="idx:../shared/data/mnist")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--calls", type=int, nargs="*", default=[5, 10, 20, 50])
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    judged = Kept(f"{arguments.run}/samplers.jsonl")
    distances = Kept(f"{arguments.run}/distances.jsonl")

    def options(kind, calls):
        return [*KINDS[kind], "--steps", str(steps_of(kind, calls))]

    def sampled(options):
        with tempfile.TemporaryDirectory() as work:
            subprocess.run([arguments.wgen, "-q", "sample", arguments.run, *options, "--n", str(PAIRED), "--out", f"{work}/x.png", "--save-tensor",
                            f"{work}/x.safetensors"], check=True)
            return load_file(f"{work}/x.safetensors")["x"]

    def distance(kind, calls):
        path = f"{arguments.run}/ddim-250.safetensors"
        if not os.path.exists(path):
            save_file({"x": sampled([*CLIPPED, "--steps", "250"])}, path)
        return {"rms": float(np.sqrt(np.mean((sampled(options(kind, calls)) - load_file(path)["x"]) ** 2)))}

    def measured(kind, calls, samples):
        what = {"kind": kind, "calls": calls, "samples": samples}
        row = judged.row(what, lambda: judge(arguments.wgen, arguments.run, arguments.data, arguments.judge, samples, options(kind, calls)))
        if kind in DRAWS:
            return row
        return row | distances.row({**what, "samples": PAIRED}, lambda: distance(kind, calls)) | {"samples": samples}

    kinds = arguments.only or list(KINDS)
    for kind, calls in (("ddim", 50), ("ddim, clipped", 50), ("dpmpp-2m", 10)):
        if kind in kinds:
            print(json.dumps(measured(kind, calls, arguments.first)), flush=True)
    rows = [measured(kind, calls, arguments.samples) for kind in kinds for calls in arguments.calls]
    print("| sampler | " + " | ".join(f"{c} calls" for c in arguments.calls) + " |\n|" + "---|" * (len(arguments.calls) + 1))
    for kind in kinds:
        cells = [r for r in rows if r["kind"] == kind]
        print(f"| {kind} | " + " | ".join(f"{r['frechet']:.1f}" + (f"; {r['rms']:.4f}" if "rms" in r else "") for r in cells) + " |")
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "wgen"
    matplotlib.rcParams["svg.fonttype"] = "none"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for kind in kinds:
        own = [r for r in rows if r["kind"] == kind]
        axes.plot([2 * steps_of(kind, r["calls"]) - 1 if kind.startswith("heun") else r["calls"] for r in own], [r["frechet"] for r in own],
                  "--" if kind in DRAWS else "-", marker="o", markersize=3, label=kind)
    axes.axhline(rows[0]["real"], color="grey", linewidth=0.8)
    axes.annotate("real images", (arguments.calls[-1], rows[0]["real"]), ha="right", va="bottom", color="grey", fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel="calls of the network", ylabel="Fréchet distance")
    axes.set_xticks(arguments.calls, [str(c) for c in arguments.calls])
    axes.minorticks_off()
    low, high = axes.get_ylim()
    marks = [m * 10**e for e in range(4) for m in (1, 1.5, 2, 3, 5, 7) if low < m * 10**e < high]
    axes.set_yticks(marks, [f"{m:g}" for m in marks])
    axes.legend(fontsize=7, ncols=2, frameon=False)
    figure.tight_layout()
    figure.savefig(f"{arguments.run}/samplers.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
