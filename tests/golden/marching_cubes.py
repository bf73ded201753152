#!/usr/bin/env python3
"""Writes tests/golden/marching_cubes.safetensors: surfaces as scikit-image's marching cubes and NumPy find them, never our own code.

    .venv/bin/python tests/golden/marching_cubes.py

`NAME/density` [layers, rows, columns] f32 and `NAME/threshold`; `NAME/vertices`, x y z in units of the lattice, in rising order, from NumPy in f64: an edge
that has one end above the threshold and the other not has one. scikit-image's Lorensen method has the same, which is checked here to 1e-4 (its
weights are 1 / (2^-23 + |difference|)); `NAME/figures` are its area and volume, and how many triangles it has. Of densities with faces whose inside corners
are diagonal to each other (`noise`) it may join what we keep apart: only vertices are compared.
"""
import os

import numpy as np
import torch
from safetensors.torch import save_file
from skimage.measure import marching_cubes, mesh_surface_area

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(20261127)
out = {}


def sorted_rows(v):
    return v[np.lexsort((v[:, 2], v[:, 1], v[:, 0]))]


def crossings(d, threshold):
    """Vertices in units of the lattice, columns x, y, z."""
    d, rows = d.astype(np.float64), []
    for axis in range(3):
        low = np.take(d, np.arange(d.shape[axis] - 1), axis)
        high = np.take(d, np.arange(1, d.shape[axis]), axis)
        at = np.argwhere((low > threshold) != (high > threshold))
        a, b = low[tuple(at.T)], high[tuple(at.T)]
        places = at.astype(np.float64)
        places[:, axis] += (threshold - a) / (b - a)
        rows.append(places[:, ::-1])
    return sorted_rows(np.concatenate(rows))


def volume_of(v, f):
    a, b, c = (v[f[:, i]].astype(np.float64) for i in range(3))
    return abs(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def put(name, x):
    out[name] = torch.from_numpy(np.ascontiguousarray(x))


def case(name, d, threshold, compare=True):
    d = d.astype(np.float32)
    vertices = crossings(d, np.float32(threshold))
    v, f, _, _ = marching_cubes(d, float(np.float32(threshold)), method="lorensen", allow_degenerate=True)
    theirs = sorted_rows(np.round(v[:, ::-1].astype(np.float64), 12))
    assert len(theirs) == len(vertices), (name, len(theirs), len(vertices))
    # Nearest neighbours: rounding changes the order of rows.
    for row in vertices:
        assert np.abs(theirs - row).max(1).min() < 1e-4, (name, row)
    put(f"{name}/density", d)
    put(f"{name}/threshold", np.array([threshold], np.float32))
    put(f"{name}/vertices", vertices)
    if compare:
        put(f"{name}/figures", np.array([mesh_surface_area(v, f), volume_of(v, f), len(f)]))
    print(name, d.shape, len(vertices), "vertices", len(f), "triangles")


def grid(layers, rows, columns):
    z, y, x = np.meshgrid(np.arange(layers), np.arange(rows), np.arange(columns), indexing="ij")
    return x.astype(np.float64), y.astype(np.float64), z.astype(np.float64)


def padded(d):
    return np.pad(d[1:-1, 1:-1, 1:-1], 1)


x, y, z = grid(15, 17, 16)
r = np.sqrt((x - 7.3) ** 2 + (y - 8.1) ** 2 + (z - 6.9) ** 2)
case("ball", np.maximum(0, 50 + 20 * (5.2 - r)), 50)
ring = np.sqrt((x - 7.6) ** 2 + (y - 8.2) ** 2) - 4.6
case("torus", np.maximum(0, 30 - 14 * (np.sqrt(ring**2 + (z - 7.1) ** 2) - 1.9)), 30)
case("box", padded(np.full((9, 8, 10), 12.0)), 3)
blobs = sum(40 * np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / s) for a, b, c, s in [(4, 4, 4, 6), (11, 12, 5, 9), (6, 11, 11, 5)])
case("blobs", padded(blobs), 12.5)
case("noise", rng.standard_normal((7, 9, 8)), 0.1, compare=False)
save_file(out, os.path.join(HERE, "marching_cubes.safetensors"))
print(f"{len(out)} tensors, {sum(v.numel() for v in out.values())} numbers")
