#!/usr/bin/env python3
"""wgen beside its peers on one machine, taking turns.

    benches/peers/run.py [--rounds 9] [--peers burn-wgpu,burn-flex,candle,meganeura,torch] [--cases matmul,vae] [--json FILE]
                         [--python .venv/bin/python] [--no-build]

Builds the peers (a workspace of its own; some ten minutes the first time), starts one process a peer and asks each in turn, round
by round, for each case. Prints wgen's rate over the peer's: the median of the paired ratios of all rounds, and their spread.
"""
import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SHAPES = ["512_512_512", "128_400_784", "64_1024_1024"]
CASES = [f"matmul_{layout}_{shape}" for shape in SHAPES for layout in ("nn", "nt", "tn")] + [
    "conv_forward_16", "conv_input_16", "conv_weight_16", "conv_forward_28", "conv_input_28", "conv_weight_28", "dcgan_step", "diffusion_step",
    "diffusion_sample",
    "add_8388608", "chain_8388608", "row_sums_8192_1024", "column_sums_8192_1024", "vae_step"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peers", default="burn-wgpu,burn-flex,candle,meganeura,torch")
    parser.add_argument("--cases", default="")
    parser.add_argument("--json")
    parser.add_argument("--python", default=next((p for p in (os.path.join(ROOT, ".venv/bin/python"), "/opt/torchenv/bin/python")
                                                  if os.path.exists(p)), sys.executable))
    parser.add_argument("--no-build", action="store_true")
    return parser.parse_args()


class Peer:
    """A process that answers a case's name with milliseconds."""

    def __init__(self, name, command, patience):
        self.name, self.patience = name, patience
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.who = self.process.stdout.readline().strip() or "did not start"
        self.refused = set()

    def time(self, case):
        if case in self.refused or self.process.poll() is not None:
            return None
        begin = time.time()
        try:
            self.process.stdin.write(case + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline().strip()
        except BrokenPipeError:
            answer = ""
        if answer in ("", "-"):
            self.refused.add(case)
            return None
        if time.time() - begin > 5:
            print(f"  {self.name}: {case} took {time.time() - begin:.0f} s to be ready", file=sys.stderr)
        return float(answer)

    def turn(self, case):
        """The median of five answers, some 80 ms each: the first ones find caches and threads as the last peer left them."""
        answers = [self.time(case) for _ in range(5)]
        return None if None in answers else statistics.median(answers)


def main():
    options = arguments()
    wanted = options.peers.split(",")
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target", "peers"))
    environment = dict(os.environ, CARGO_TARGET_DIR=target)
    packages = {"burn-wgpu": "peer-burn", "burn-flex": "peer-burn", "candle": "peer-candle", "meganeura": "peer-meganeura"}
    if not options.no_build:
        for package in dict.fromkeys(["peer-wgen"] + [packages[w] for w in wanted if w in packages]):
            built = subprocess.run(["cargo", "build", "--release", "-p", package], cwd=HERE, env=environment)
            if built.returncode != 0:
                print(f"{package} does not build here", file=sys.stderr)
    binary = lambda name: os.path.join(target, "release", name)
    torch = os.path.join(HERE, "torch_peer.py")
    commands = {
        "burn-wgpu": [binary("peer-burn"), "wgpu"], "burn-flex": [binary("peer-burn"), "flex"], "candle": [binary("peer-candle")],
        "meganeura": [binary("peer-meganeura")], "torch": [options.python, torch],
        "torch-cuda": [options.python, torch, "--cuda"], "torch-cuda-graph": [options.python, torch, "--cuda", "--graph"],
    }
    peers = [Peer("wgen", [binary("peer-wgen")], None)]
    peers += [Peer(name, commands[name], None) for name in wanted if os.path.exists(commands[name][0])]
    for peer in peers:
        print(f"{peer.name}: {peer.who}")
    cases = [c for c in CASES if any(part in c for part in options.cases.split(","))]
    random.seed(1)
    results = {}
    for case in cases:
        for peer in peers:
            peer.time(case)
        rounds = []
        for i in range(options.rounds):
            # In another order each time, after a pause: some keep their threads spinning for a while after their turn.
            order = random.sample(peers, len(peers))
            row = {}
            for peer in order:
                time.sleep(0.1)
                row[peer.name] = peer.turn(case)
            rounds.append(row)
        results[case] = rounds
        own = [r["wgen"] for r in rounds]
        print(f"{case:<26} wgen {statistics.median(own):9.3f} ms", end="")
        for peer in peers[1:]:
            ratios = sorted(r[peer.name] / r["wgen"] for r in rounds if r[peer.name])
            if ratios:
                print(f"   {peer.name} {statistics.median(ratios):7.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})", end="")
            else:
                print(f"   {peer.name}    none", end="")
        print(flush=True)
    products = [c for c in cases if c.startswith("matmul")]
    for peer in peers[1:]:
        ratios = [statistics.median(r[peer.name] / r["wgen"] for r in results[c]) for c in products
                  if all(r[peer.name] for r in results[c])]
        if ratios:
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            print(f"products against {peer.name}: {min(ratios):.2f} at least, geometric mean {mean:.2f}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"peers": {p.name: p.who for p in peers}, "milliseconds": results}, file, indent=1)


main()
