#!/usr/bin/env python3
"""Writes tests/golden/nerf_march.safetensors: marching, prefix sums and the occupancy grid as NumPy and PyTorch compute them, never our own code.

    .venv/bin/python tests/golden/nerf_march.py

`exact/`: samples of rays in NumPy's f32, whose sums and products are rounded once and never contracted. Nothing is skipped: every step is looked at.
`near/`: the same grid marched in f64 as the usual implementations do it, from the wall of the box on (t = near + (k + jitter) dt, nerf_proto.py). Our
lattice begins at the ray's origin; with the jitter that is given beside, it is the same one. Rays of which a sample lies closer than 1e-4 of a cell to a wall are marked:
they may have one more or less.
`scan/`, `grid/`: integers and f64.
"""
import math
import os

import numpy as np
import torch
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(20261126)
f = np.float32
out = {}


def put(name, x):
    x = np.asarray(x)
    x = x.astype(np.int32) if x.dtype.kind in "iub" else x
    out[name] = torch.from_numpy(np.ascontiguousarray(x))


def unit(v):
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def packed(occupied):
    """Bit c % 32 of word c / 32."""
    words = (occupied.reshape(-1, 32).astype(np.uint64) << np.arange(32, dtype=np.uint64)).sum(1)
    return words.astype(np.uint32).view(np.int32)


def rays(n):
    """From around the box, from inside, along axes, past it."""
    origin = unit(rng.normal(size=(n, 3))) * 1.5 + 0.5
    aim = rng.uniform(size=(n, 3)) * 1.2 - 0.1
    origin[n // 4:n // 2] = rng.uniform(size=(n // 2 - n // 4, 3))
    d = unit(aim - origin)
    for i in range(n // 2, n // 2 + 12):
        axis, sign = i % 3, 1.0 if i % 2 else -1.0
        d[i] = [sign if a == axis else 0.0 for a in range(3)]
        origin[i] = np.floor(rng.uniform(size=3) * 16) / 16
        origin[i, axis] = 0.5 - 1.25 * sign
    d[-3:] = -d[-3:]
    return np.concatenate([origin, d], 1).astype(f)


def samples_of(k, t, x, occupied, grid, steps):
    cell = np.floor(x * x.dtype.type(grid))
    inside = ((cell >= 0) & (cell < grid)).all(-1)
    c = np.where(inside[..., None], cell, 0).astype(np.int64)
    keep = inside & occupied[c[..., 0] + grid * (c[..., 1] + grid * c[..., 2])]
    return np.nonzero(keep)[0][:steps]


def exact(name, n, grid, steps, density):
    r, jitter = rays(n), (rng.integers(0, 1 << 24, n) / 2**24).astype(f)
    occupied = rng.uniform(size=grid**3) < density
    dt = f(math.sqrt(3) / steps)
    k = np.arange(0, 3 * steps + 10)
    counts, found = [], []
    for ray, j in zip(r, jitter):
        t = (k.astype(f) + j) * dt
        x = ray[None, :3] + t[:, None] * ray[None, 3:]
        assert t.dtype == f and x.dtype == f
        mine = samples_of(k, t, x, occupied, grid, steps)
        counts.append(len(mine))
        found += [np.append(x[i], t[i]) for i in mine]
    put(f"{name}/options", [grid, steps])
    put(f"{name}/rays", r)
    put(f"{name}/jitter", jitter)
    put(f"{name}/bits", packed(occupied))
    put(f"{name}/counts", counts)
    put(f"{name}/samples", np.array(found, f).reshape(-1, 4))


def cascades(name, n, grid, steps, count, octave, density):
    """Grids over cubes in one another, looked up in the smallest that holds a place; steps that double from octave to octave, walked one by one."""
    r, jitter = rays(n), (rng.integers(0, 1 << 24, n) / 2**24).astype(f)
    r[: n // 2, :3] = (r[: n // 2, :3] - f(0.5)) * (2.0 ** -rng.integers(0, count, n // 2))[:, None].astype(f) + f(0.5)
    occupied = rng.uniform(size=(count, grid**3)) < density
    dt = f(math.sqrt(3) / (steps * 2 ** (count - 1)))
    # The lattice in shortest steps, as integers: where each of its steps begins, and how long it is.
    begins, lengths, at = [], [], 0
    while at < 4 * steps * 2 ** (count - 1):
        length = 1
        if octave:
            while length < 2 ** (count - 1) and at >= 2 * octave * length:
                length *= 2
        begins.append(at)
        lengths.append(length)
        at += length
    begins, lengths = np.array(begins), np.array(lengths)
    counts, found = [], []
    for ray, j in zip(r, jitter):
        t = ((begins // lengths).astype(f) + j) * (dt * lengths.astype(f))
        x = ray[None, :3] + t[:, None] * ray[None, 3:]
        assert t.dtype == f and x.dtype == f
        keep = np.zeros(len(t), bool)
        seen = np.zeros(len(t), bool)
        for c in range(count):
            side = f(2.0 ** (c - (count - 1)))
            middle = x - f(0.5)
            inside = (np.abs(middle) < side / 2).all(1) & ~seen
            cell = np.minimum(((middle / side + f(0.5)) * f(grid)).astype(np.int64), grid - 1)
            cell = np.where(inside[:, None], cell, 0)
            keep |= inside & occupied[c, cell[:, 0] + grid * (cell[:, 1] + grid * cell[:, 2])]
            seen |= inside
        mine = np.nonzero(keep)[0][: min(steps * count, 1024)]
        counts.append(len(mine))
        found += [np.append(x[i], t[i]) for i in mine]
    put(f"{name}/options", [grid, steps, count, octave])
    put(f"{name}/rays", r)
    put(f"{name}/jitter", jitter)
    put(f"{name}/bits", packed(occupied))
    put(f"{name}/counts", counts)
    put(f"{name}/samples", np.array(found, f).reshape(-1, 4))


def near(name, n, grid, steps, density):
    r = rays(n).astype(np.float64)
    occupied = rng.uniform(size=grid**3) < density
    dt = np.float64(f(math.sqrt(3) / steps))
    jitter = rng.integers(0, 1 << 12, n) / 2**12
    k = np.arange(0, steps)
    ours, grazing, counts, found = [], [], [], []
    for ray, j in zip(r, jitter):
        o, d = ray[:3], ray[3:]
        inverse = 1 / np.where(np.abs(d) < 1e-9, 1e-9, d)
        t0, t1 = (0 - o) * inverse, (1 - o) * inverse
        first, last = max(np.minimum(t0, t1).max(), 0), np.maximum(t0, t1).min()
        t = first + (k + j) * dt
        x = o + t[:, None] * d
        # One before the wall and one behind it, too: rounding may bring them in.
        around = first + (np.arange(-1, steps + 1) + j) * dt
        beside = (o + around[:, None] * d) * grid
        wall = np.abs(beside - np.round(beside))[:, np.abs(d) > 0].min()
        mine = [i for i in samples_of(k, t, x, occupied, grid, steps) if t[i] < last]
        ours.append((first / dt + j) % 1.0)
        grazing.append(wall < 1e-4)
        counts.append(len(mine))
        found += [np.append(x[i], t[i]) for i in mine]
    put(f"{name}/options", [grid, steps])
    put(f"{name}/rays", r)
    put(f"{name}/jitter", np.array(ours))
    put(f"{name}/bits", packed(occupied))
    put(f"{name}/grazing", grazing)
    put(f"{name}/counts", counts)
    put(f"{name}/samples", np.array(found).reshape(-1, 4))


def scan(name, counts, capacity, samples):
    base = np.concatenate([[0], np.cumsum(counts)])
    kept = np.searchsorted(base, capacity, side="right") - 1
    base = np.minimum(base, base[kept])
    ray = np.searchsorted(base, np.arange(samples), side="right") - 1
    put(f"{name}/options", [capacity, samples])
    put(f"{name}/counts", counts)
    put(f"{name}/base", np.append(base, kept))
    put(f"{name}/ray", np.where(np.arange(samples) < base[-1], ray, 0))


def grid(side, looked_at):
    """nerf_proto.py's update: the largest of the decayed old value and what was found."""
    n = side**3
    value = torch.from_numpy(rng.uniform(size=n) ** 4)
    value[torch.from_numpy(rng.integers(0, n, n // 9))] = -1
    cells = torch.from_numpy(rng.integers(0, n, looked_at))
    new = torch.from_numpy(rng.uniform(size=looked_at).astype(f).astype(np.float64)) * 0.1
    fresh = torch.zeros(n, dtype=torch.float64).scatter_reduce_(0, cells, new, "amax", include_self=False)
    merged = torch.where(value < 0, value, torch.maximum(value * 0.95, fresh))
    threshold = min(0.01, merged.clamp(min=0).mean().item())
    put("grid/values", value.numpy())
    put("grid/cells", cells.numpy())
    put("grid/thickness", new.numpy())
    put("grid/merged", merged.numpy())
    put("grid/threshold", np.array([threshold]))
    put("grid/bits", packed((merged > threshold).numpy()))
    # instant-ngp's permutation: four updates of a quarter each.
    quarter = n // 4
    put("grid/permuted", [[((i + update * quarter) * 56924617 + 96925573) % n for i in range(quarter)] for update in range(4)])


def main():
    exact("exact/fine", 48, 32, 256, 0.3)
    exact("exact/coarse", 32, 8, 37, 0.6)
    exact("exact/full", 24, 4, 64, 2.0)
    near("near/half", 64, 16, 128, 0.5)
    counts = rng.integers(0, 9, 40)
    counts[[0, 7, 8, 39]] = 0
    total = int(counts.sum())
    scan("scan/all", counts, total, total + 9)
    scan("scan/but_one", counts, total - 1, total)
    scan("scan/half", counts, total // 2, total // 2)
    scan("scan/none", counts + 3, 2, 5)
    grid(8, 300)
    cascades("exact/cascades", 32, 8, 16, 3, 0, 0.3)
    cascades("exact/octaves", 32, 8, 64, 4, 16, 0.4)
    cascades("exact/octaves_full", 24, 4, 20, 5, 17, 2.0)
    save_file(out, os.path.join(HERE, "nerf_march.safetensors"))
    for name, x in out.items():
        print(name, list(x.shape), x.dtype)
    print(int(out["near/half/grazing"].sum()), "grazing rays")


if __name__ == "__main__":
    main()
