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

# Lenses: what OpenCV's models show is looked for by its own fixed point (undistortPoints) or by halving, not by Newton's method. Views of different sizes.
# Width, height, fx, fy, cx, cy, offset, kind, k1, k2, k3, and p1, p2 or k4.
LENSES = torch.tensor([
    [37, 23, 31.5, 29.25, 17.75, 12.5, 0.5, 1, -0.28, 0.09, -0.012, 7e-4, -2e-4],
    [20, 31, 25.0, 26.0, 10.5, 15.0, 0.5, 0, 0, 0, 0, 0, 0],
    [41, 17, 22.0, 22.0, 20.0, 9.0, 0.5, 2, 0.1, -0.05, 0.01, -0.002, 0],
    [12, 12, 14.0, 13.0, 6.0, 6.5, 0.0, 1, 0.12, -0.03, 0.004, -3e-3, 2e-3],
])


def undistorted(x, y, kind, k):
    if kind == 0:
        return [x, y, 1.0]
    if kind == 1:
        k1, k2, k3, p1, p2 = k
        u, v = x, y
        for _ in range(400):
            r = u * u + v * v
            radial = 1 + k1 * r + k2 * r**2 + k3 * r**3
            u, v = (x - 2 * p1 * u * v - p2 * (r + 2 * u * u)) / radial, (y - p1 * (r + 2 * v * v) - 2 * p2 * u * v) / radial
        return [u, v, 1.0]
    distance, low, high = math.hypot(x, y), 0.0, 2.0
    for _ in range(200):
        theta = 0.5 * (low + high)
        shown = theta + k[0] * theta**3 + k[1] * theta**5 + k[2] * theta**7 + k[3] * theta**9
        low, high = (theta, high) if shown < distance else (low, theta)
    by = math.sin(theta) / distance if distance > 0 else 1.0
    return [x * by, y * by, math.cos(theta)]


sizes = [int(w * h) for w, h in LENSES[:, :2]]
begins = np.concatenate([[0], np.cumsum(sizes)])
lens_poses = torch.cat([torch.stack([rotation() for _ in sizes]), 3 * torch.randn(len(sizes), 3, 1)], 2)
pixels = torch.cat([torch.from_numpy(begins[:-1]), torch.from_numpy(begins[1:] - 1), torch.randint(0, int(begins[-1]), (70,))])
found = []
for pixel in pixels.tolist():
    view = int(np.searchsorted(begins, pixel, side="right")) - 1
    w, _, fx, fy, cx, cy, offset, kind, *k = LENSES[view].tolist()
    column, line = (pixel - begins[view]) % w, (pixel - begins[view]) // w
    right, down, forwards = undistorted((column + offset - cx) / fx, (line + offset - cy) / fy, kind, k)
    direction = lens_poses[view][:, :3] @ torch.tensor([right, -down, -forwards])
    found.append(torch.cat([lens_poses[view][:, 3], direction, torch.tensor([float(view)])]))
digits = torch.stack([(pixels >> (8 * i)) & 255 for i in range(4)], 1)
out["lenses/cameras"] = LENSES
out["lenses/poses"] = lens_poses.reshape(len(sizes), 12)
out["lenses/rows"] = torch.cat([torch.randint(0, 256, (len(pixels), 4)), digits], 1).double()
out["lenses/rays"] = torch.stack(found)

save_file({k: v.contiguous() for k, v in out.items()}, os.path.join(HERE, "nerf_rays.safetensors"))
