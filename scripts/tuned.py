#!/usr/bin/env python3
"""What a tuner's file says of variants: how the first choices fared, and what each way of making a tile took beside the same tile without it.

    scripts/tuned.py [FILE.json] [...]        FILE: as in the user's cache folder, or as `wgen info --tuning --json` prints it; benches/results/h100 has an H100's
"""
import collections
import json
import statistics
import sys


def entries(path):
    with open(path) as file:
        data = json.load(file)
    data = data.get("tuned", data) if isinstance(data, dict) else data
    return list(data.values()) if isinstance(data, dict) else data


def summary(ratios):
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} shapes)"


for path in sys.argv[1:]:
    first, sides, bodies = [], collections.Counter(), []
    with_mark = collections.defaultdict(list)
    for entry in entries(path):
        seconds = {c["variant"]: c["seconds"] for c in entry["candidates"] if c["seconds"]}
        best = min(seconds.values())
        sides[next(word for word in entry["variant"].split() if "x" in word and word[0].isdigit() and word.count("x") == 2)] += 1
        if entry["candidates"][0]["seconds"]:
            first.append(entry["candidates"][0]["seconds"] / best)
        kernel = entry["what"].split()[0]
        for variant, taken in seconds.items():
            if "subgroup" in variant:
                bodies.append(taken / best)
            for mark in ("ahead", "transposed"):
                plain = variant.replace(f" {mark}", "")
                if plain != variant and plain in seconds:
                    with_mark[mark, kernel].append(taken / seconds[plain])
                    with_mark[mark, f"{kernel} {variant.split()[0]}"].append(taken / seconds[plain])
    print(f"{path}: {sum(sides.values())} shapes; the fastest tile {dict(sides.most_common())}")
    print(f"  first choice over the fastest: {summary(first)}")
    for (mark, kernel), ratios in sorted(with_mark.items()):
        print(f"  {mark}, {kernel}: {summary(ratios)}")
    if bodies:
        print(f"  subgroup bodies over the fastest: {summary(bodies)}")
