#!/usr/bin/env python3
"""Writes tests/golden/nerf_composite.safetensors: what PyTorch makes of samples along rays, in f64, never our own code.

    python3 -m venv .venv && .venv/bin/pip install -r tests/golden/requirements.txt
    .venv/bin/python tests/golden/nerf_composite.py

A case is `NAME/x0` (tau), `NAME/x1` (colour), `NAME/x2` (t), of packed samples `NAME/base`, then `NAME/w` (weights), `NAME/y` (red, green, blue,
opacity, depth), `NAME/g` (upstream gradient), `NAME/d0` to `d2` (gradients by the three) and `NAME/s0` to `s2`: the gradients of
sum(d0^2 + ..) by the three, through the gradient.
"""
import os

import numpy as np
import torch
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(20261126)
torch.set_num_threads(1)
out = {}
# nerf-pytorch's 1e-10 as f32 has it.
EPSILON = float(np.float32(1e-10))


def weights_of(tau, epsilon):
    """nerf-pytorch's raw2outputs from alpha on; without its epsilon the exponential of the thickness in front."""
    alpha = -torch.expm1(-tau)
    if epsilon:
        left = torch.cumprod(torch.cat([torch.ones(1, dtype=tau.dtype), 1.0 - alpha + EPSILON]), 0)[:-1]
    else:
        left = torch.exp(-torch.cat([torch.zeros(1, dtype=tau.dtype), torch.cumsum(tau, 0)[:-1]]))
    return alpha * left


def rays_of(tau, colour, t, ends, epsilon):
    """Weights of all samples and the five values of each ray."""
    all_weights, rows = torch.zeros_like(tau), []
    for first, end in ends:
        w = weights_of(tau[first:end], epsilon)
        all_weights = all_weights + torch.nn.functional.pad(w, (first, len(tau) - end))
        rows.append(torch.cat([w @ colour[first:end], w.sum().reshape(1), (w @ t[first:end]).reshape(1)]))
    return all_weights, torch.stack(rows)


def case(name, tau, ends, base=None, epsilon=False):
    count = len(tau)
    x = [tau, torch.rand(count, 3, dtype=torch.float64), torch.sort(torch.rand(count, dtype=torch.float64) * 4 + 2)[0]]
    for i, v in enumerate(x):
        out[f"{name}/x{i}"] = v.clone()
        v.requires_grad_(True)
    w, y = rays_of(*x, ends, epsilon)
    g = torch.randn(y.shape, dtype=torch.float64)
    first = torch.autograd.grad((y * g).sum(), x, create_graph=True)
    second = torch.autograd.grad(sum((d * d).sum() for d in first), x, allow_unused=True)
    out[f"{name}/w"], out[f"{name}/y"], out[f"{name}/g"] = w.detach(), y.detach(), g
    for i in range(3):
        out[f"{name}/d{i}"] = first[i].detach().contiguous()
        out[f"{name}/s{i}"] = torch.zeros_like(x[i]) if second[i] is None else second[i].contiguous()
    if base is not None:
        out[f"{name}/base"] = torch.tensor(base, dtype=torch.int32)


def dense(name, tau, epsilon):
    rays, samples = tau.shape
    case(name, tau.reshape(-1), [(r * samples, (r + 1) * samples) for r in range(rays)], epsilon=epsilon)


def packed(name, scale, lengths, kept, room):
    """`lengths` of the rays that fit; those from `kept` on are empty. Samples behind them belong to nobody, and hold something."""
    ends = np.concatenate([[0], np.cumsum([n if r < kept else 0 for r, n in enumerate(lengths)])]).astype(int)
    tau = torch.rand(int(ends[-1]) + room, dtype=torch.float64) * scale
    case(name, tau, list(zip(ends[:-1], ends[1:])), base=[*ends.tolist(), kept])


def uniform(*shape):
    return torch.rand(shape, dtype=torch.float64)


dense("dense_5_7", uniform(5, 7) * 0.8, False)
dense("dense_3_1", uniform(3, 1), False)
dense("dense_2_16", torch.relu(torch.randn(2, 16, dtype=torch.float64)), False)
dense("epsilon_5_7", uniform(5, 7) * 0.8, True)
opaque = torch.relu(torch.randn(4, 9, dtype=torch.float64)) * 0.5
opaque[:, -1] *= 1e10  # nerf-pytorch's last delta
opaque[0, 3] = 25.0  # 1 - alpha is less than epsilon here
dense("epsilon_4_9", opaque, True)
packed("packed_some_empty", 0.7, [3, 0, 5, 1, 0, 0, 4], 7, 0)
packed("packed_room", 1.5, [2, 6, 0, 3], 4, 5)
packed("packed_dropped", 0.4, [0, 4, 3, 8, 2], 3, 6)
packed("packed_nothing", 0.4, [3, 2], 0, 4)
save_file(out, os.path.join(HERE, "nerf_composite.safetensors"))
print(f"{len(out)} tensors, {sum(v.numel() for v in out.values())} numbers")
