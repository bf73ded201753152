#!/usr/bin/env python3
"""Writes tests/golden/nerf_rays.safetensors: rays, normalised device coordinates and camera paths as NumPy and PyTorch compute them in f64.

    python3 -m venv .venv && .venv/bin/pip install -r tests/golden/requirements.txt
    .venv/bin/python tests/golden/nerf_rays.py

The formulas are those of nerf-pytorch: get_rays and ndc_rays of run_nerf_helpers.py, pose_spherical of load_blender.py, and of load_llff.py the mean
of poses and the spiral round it. Here they are written out anew, in matrices of torch.
"""
import math
import os

import numpy as np
import torch
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.set_default_dtype(torch.float64)
torch.manual_seed(15)
out = {}


def rotation():
    q, r = torch.linalg.qr(torch.randn(3, 3))
    q = q * torch.sign(torch.diagonal(r))
    return q if torch.linalg.det(q) > 0 else -q


def about(angle, axis):
    """Rotation by degrees about x (0) or y (1) as load_blender has them: that about y turns the other way round."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    m = torch.eye(4)
    i, j = ((1, 2), (0, 2))[axis]
    m[i, i], m[i, j], m[j, i], m[j, j] = c, -s, s, c
    return m


def unit(v):
    return v / torch.linalg.norm(v)


# Rays of 3 views of a camera whose axis is not in the middle. Rows are bytes: red, green, blue, alpha, the pixel's number.
W, H, FX, FY, CX, CY, VIEWS = 37, 23, 31.5, 29.25, 17.75, 12.5, 3
poses = torch.cat([torch.stack([rotation() for _ in range(VIEWS)]), 3 * torch.randn(VIEWS, 3, 1)], 2)
pixels = torch.cat([torch.tensor([0, VIEWS * H * W - 1]), torch.randint(0, VIEWS * H * W, (60,))])
colours = torch.randint(0, 256, (len(pixels), 4))
digits = torch.stack([(pixels >> (8 * k)) & 255 for k in range(4)], 1)
out["rows"] = torch.cat([colours, digits], 1).double()
out["poses"] = poses.reshape(VIEWS, 12)
x, y, view = (pixels % W).double(), (pixels // W % H).double(), pixels // (W * H)
for name, offset in [("centre", 0.5), ("corner", 0.0)]:
    d = torch.stack([(x + offset - CX) / FX, -(y + offset - CY) / FY, -torch.ones_like(x)], 1)
    d = torch.einsum("nij,nj->ni", poses[view][:, :, :3], d)
    out[f"rays/{name}"] = torch.cat([poses[view][:, :, 3], d], 1)
out["camera"] = torch.tensor([W, H, FX, FY, CX, CY])

# Normalised device coordinates of rays that look along -z.
n, near, focal = 40, 1.25, 400.0
o = 0.5 * torch.randn(n, 3)
d = torch.cat([0.4 * torch.randn(n, 2), -(0.5 + torch.rand(n, 1))], 1)
out["ndc/rays"] = torch.cat([o, d], 1)
p = o - ((near + o[:, 2:]) / d[:, 2:]) * d  # moved to the plane z = -near
a = torch.tensor([-2 * focal / 504, -2 * focal / 378])
origin = torch.cat([a * p[:, :2] / p[:, 2:], 1 + 2 * near / p[:, 2:]], 1)
direction = torch.cat([a * (d[:, :2] / d[:, 2:] - p[:, :2] / p[:, 2:]), -2 * near / p[:, 2:]], 1)
out["ndc/result"] = torch.cat([origin, direction], 1)
out["ndc/camera"] = torch.tensor([504.0, 378.0, focal, near])

# nerf-pytorch's orbit: 40 poses.
back = torch.eye(4)
back[2, 3] = 4.0
flip = torch.tensor([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
orbit = [flip @ about(t, 1) @ about(-30.0, 0) @ back for t in np.linspace(-180, 180, 41)[:-1]]
out["orbit"] = torch.stack(orbit)[:, :3].reshape(40, 12)


# LLFF: cameras that look about the same way, recentred by their mean pose, and the spiral.
def view_matrix(z, up, position):
    z = unit(z)
    x = unit(torch.linalg.cross(up, z))
    return torch.stack([x, unit(torch.linalg.cross(z, x)), z, position], 1)


def mean(poses):
    return view_matrix(poses[:, :, 2].sum(0), poses[:, :, 1].sum(0), poses[:, :, 3].mean(0))


def four(pose):
    return torch.cat([pose, torch.tensor([[0.0, 0, 0, 1]])], 0)


base = four(torch.cat([rotation(), torch.randn(3, 1)], 1))
llff = []
for _ in range(11):
    turned = about(8 * float(torch.randn(())), 0) @ about(8 * float(torch.randn(())), 1)
    turned[:3, 3] = torch.randn(3) * torch.tensor([0.5, 0.3, 0.1])
    llff.append((base @ turned)[:3])
llff = torch.stack(llff)
out["llff/mean"] = mean(llff).reshape(1, 12)
recentred = torch.stack([(torch.linalg.inv(four(mean(llff))) @ four(p))[:3] for p in llff])
out["llff/poses"] = recentred.reshape(11, 12)
out["llff/poses_before"] = llff.reshape(11, 12)
close, far = 1.4, 9.5
middle = mean(recentred)
up = unit(recentred[:, :, 1].sum(0))
focus = 1 / ((1 - 0.75) / (0.9 * close) + 0.75 / (5 * far))
radii = torch.from_numpy(np.percentile(recentred[:, :, 3].abs().numpy(), 90, 0))
spiral = []
for angle in np.linspace(0, 2 * math.pi * 2, 121)[:-1]:
    place = torch.tensor([math.cos(angle), -math.sin(angle), -math.sin(0.5 * angle)]) * radii
    position = middle[:, :3] @ place + middle[:, 3]
    target = middle[:, :3] @ torch.tensor([0.0, 0.0, -focus]) + middle[:, 3]
    spiral.append(view_matrix(position - target, up, position))
out["llff/spiral"] = torch.stack(spiral[::7]).reshape(-1, 12)
out["llff/bounds"] = torch.tensor([close, far])

save_file({k: v.contiguous() for k, v in out.items()}, os.path.join(HERE, "nerf_rays.safetensors"))
