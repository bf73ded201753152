#!/usr/bin/env python3
"""An unconditional U-Net on MNIST led to the digits by a noised classifier (Dhariwal & Nichol 2021, section 4): share of the class asked for and Frechet distance,
precision and recall by scale, judged by an independent classifier; the noised classifier's accuracy by t.

    scripts/mnist_guidance.py [RUN] [--noised runs/mnist-noised] [--judge runs/mnist-classifier] [--data idx:../shared/data/mnist] [--samples 500] [--steps 25]
        [--scales 0 2 4 8] [--unclipped 4]

What is not there is trained first: RUN (runs/mnist-unconditional), the noised classifier, the judge. What was measured stays in RUN/guidance.jsonl and is not measured again.
--unclipped: scales that are measured once more without clipping x_0 after it was moved (--clip-guided false). Prints two tables.
"""
import argparse
import json
import os
import subprocess

from judged import Kept, judge

PROCESS = ["--schedule", "cosine"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("run", nargs="?", default="runs/mnist-unconditional")
    parser.add_argument("--wgen", default="target/release/wgen")
    parser.add_argument("--noised", default="runs/mnist-noised")
    parser.add_argument("--judge", default="runs/mnist-classifier")
    parser.add_argument("--data", default="idx:../shared/data/mnist")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--scales", type=float, nargs="*", default=[0, 2, 4, 8])
    parser.add_argument("--unclipped", type=float, nargs="*", default=[4])
    arguments = parser.parse_args()

    def wgen(*options):
        out = subprocess.run([arguments.wgen, "-q", *options, "--data", arguments.data], check=True, stdout=subprocess.PIPE, text=True).stdout
        return json.loads(out) if "--json" in options else None

    rate = ["--lr", "1e-3", "--lr-schedule", "cosine", "--no-previews"]
    for folder, options in [
        (arguments.judge, ["classifier", "--epochs", "8", "--lr-schedule", "cosine"]),
        (arguments.noised, ["classifier", "--noised", *PROCESS, "--steps", "1500", "--batch", "64", "--lr-warmup", "100", *rate]),
        (arguments.run, ["diffusion", "--prediction", "v", *PROCESS, "--steps", "3000", "--batch", "16", "--lr-warmup", "200", "--clip", "1", "--ema", "0.999", *rate]),
    ]:
        if not os.path.exists(f"{folder}/model.safetensors"):
            wgen("train", *options, "--out", folder)

    kept = Kept(f"{arguments.run}/guidance.jsonl")

    def measured(scale, clip):
        guided = ["--classifier", arguments.noised, "--classifier-scale", str(scale), "--clip-guided", str(clip).lower(), "--steps", str(arguments.steps)]
        what = {"scale": scale, "clip": clip, "steps": arguments.steps, "samples": arguments.samples}
        return kept.row(what, lambda: judge(arguments.wgen, arguments.run, arguments.data, arguments.judge, arguments.samples, guided))

    print("| scale | of the class asked for | Fréchet distance | of the unguided | precision | recall |\n|---|---|---|---|---|---|")
    unguided = measured(0.0, True)["frechet"]
    for scale, clip in [(s, True) for s in arguments.scales] + [(s, False) for s in arguments.unclipped]:
        row = measured(scale, clip)
        print(f"| {scale:g}{'' if clip else ', not clipped again'} | {row['of_class']:.1%} | {row['frechet']:.2f} | {row['frechet'] / unguided:.2f} | {row['precision']:.3f} | "
              f"{row['recall']:.3f} |", flush=True)
    print(f"\nTwo halves of real images: {measured(0.0, True)['real']:.2f}.\n")
    by_timestep = wgen("eval", arguments.noised, "--examples", "1000", "--json")["by_timestep"]
    print("| t | " + " | ".join(str(at["timestep"]) for at in by_timestep) + " |\n|" + "---|" * (len(by_timestep) + 1))
    print("| accuracy | " + " | ".join(f"{at['accuracy']:.1%}" for at in by_timestep) + " |")


if __name__ == "__main__":
    main()
