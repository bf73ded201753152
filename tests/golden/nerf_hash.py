#!/usr/bin/env python3
"""Writes the golden tensors of the hash encoding: what PyTorch computes in f64, with its gradient by autograd.

    .venv/bin/python tests/golden/nerf_hash.py

The formulas are those of tiny-cuda-nn's GridEncoding: p = x scale + 1/2, cell = floor(p), fraction = p - cell, eight corners. Scales are
rounded to f32 and vertices counted from that. p is computed twice: as a float, and in whole numbers (x cut to 2^-31, p to 2^-24), as the
kernels do; both must have the same cell, and fractions that differ by less than 2^-23. The golden values take those of the whole numbers.

A case NAME has `NAME/x` [S, 3], `NAME/table` [E, F], `NAME/g` [S, L F] (the upstream gradient), `NAME/y`, `NAME/d` [E, F] and
`NAME/cells` [S, L, 6], cell and fraction in units of 2^-24.
"""
import math
import os
from fractions import Fraction

import numpy as np
import torch
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(20270311)
torch.set_num_threads(1)
PRIMES = (1, 2654435761, 805459861)


def levels(count, log2, base, finest):
    growth = math.exp(math.log(finest / base) / (count - 1))
    out = []
    for level in range(count):
        scale = float(np.float32(base * growth**level - 1))
        resolution = math.ceil(scale) + 1
        entries = min(2**log2, -(-resolution**3 // 8) * 8)
        out.append((scale, resolution, entries, resolution**3 > entries))
    return out


def cell_of(x, scale):
    """Cell and fraction, in units of 2^-24, of the f32 number x."""
    p = Fraction(math.floor(Fraction(x) * 2**31), 2**31) * Fraction(scale)
    p = Fraction(math.floor(p * 2**32), 2**32) + Fraction(1, 2)
    cell = math.floor(p)
    fraction = math.floor((p - cell) * 2**24)
    exact = Fraction(x) * Fraction(scale) + Fraction(1, 2)
    near = x * scale + 0.5
    assert cell == math.floor(exact) == math.floor(near), (x, scale)
    assert 0 <= exact - cell - Fraction(fraction, 2**24) < Fraction(1, 2**23), (x, scale)
    return cell, fraction


def case(out, name, samples, count, features, log2, base, finest):
    grid = levels(count, log2, base, finest)
    x = torch.rand(samples, 3, dtype=torch.float32)
    x[0] = torch.tensor([0.0, 1.0, 0.5])
    table = torch.randn(sum(e for _, _, e, _ in grid), features, dtype=torch.float64, requires_grad=True)
    cells, columns, first = [], [], 0
    for scale, resolution, entries, hashed in grid:
        own = [[cell_of(float(v), scale) for v in row] for row in x]
        cell = torch.tensor([[c for c, _ in row] for row in own])
        fraction = torch.tensor([[f for _, f in row] for row in own])
        cells.append(torch.cat([cell, fraction], 1))
        f = fraction.double() / 2**24
        total = 0
        for corner in range(8):
            bits = [corner >> d & 1 for d in range(3)]
            v = [cell[:, d] + bits[d] for d in range(3)]
            if hashed:
                # 64-bit products of numbers below 2^32: their low words are those of u32.
                index = (v[0] ^ (v[1] * PRIMES[1]) ^ (v[2] * PRIMES[2])) & 0xFFFFFFFF
            else:
                index = v[0] + v[1] * resolution + v[2] * resolution**2
            weight = 1
            for d in range(3):
                weight = weight * (f[:, d] if bits[d] else 1 - f[:, d])
            total = total + weight[:, None] * table[first + index % entries]
        columns.append(total)
        first += entries
    y = torch.cat(columns, 1)
    g = torch.randn_like(y)
    y.backward(g)
    out[f"{name}/x"] = x.double()
    out[f"{name}/table"] = table.detach()
    out[f"{name}/g"] = g
    out[f"{name}/y"] = y.detach()
    out[f"{name}/d"] = table.grad
    out[f"{name}/cells"] = torch.stack(cells, 1).to(torch.int32)


tensors = {}
case(tensors, "two_features", 23, 3, 2, 8, 3, 21)
case(tensors, "four_features", 40, 4, 4, 7, 4, 2048)
case(tensors, "one_feature", 17, 2, 1, 9, 5, 8)
case(tensors, "eight_features", 5, 2, 8, 5, 2, 300)
save_file({k: v.contiguous() for k, v in tensors.items()}, os.path.join(HERE, "nerf_hash.safetensors"))
print({k: list(v.shape) for k, v in tensors.items()})
