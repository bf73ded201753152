#!/usr/bin/env python3
"""wgen's hash-grid step in PyTorch: the same tables, networks, samples and loss, as fast as PyTorch on a CPU gives them. Prints ms a step.

    .venv/bin/python scripts/pytorch_ngp.py --data ../shared/data/nerf/chair --steps 200 --threads 1
    .venv/bin/python scripts/pytorch_ngp.py --steps 50 --rays 1500 --fixed-rays
    .venv/bin/python scripts/pytorch_ngp.py --render runs/chair-0 --threads 2

Settings are those of `wgen train ngp`. It is `src/models/nerf/ngp/` step by step but for the random numbers, for the sums in fixed point, and for the
number of rays, which follows the samples at every step instead of at every sixteenth. `model.safetensors` of a run is taken with strict=True
but for the state of the occupancy grid (`Ngp.load`). Its pieces work in f32 and f64; tests/golden/nerf_models.py takes some of them.
"""
import argparse
import json
import math
import os
import sys
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pytorch_nerf import rays as camera_rays  # noqa: E402

PRIMES = (1, 2654435761, 805459861)
# In order: three axes' bits of each corner of a cell.
CORNERS = [(c & 1, c >> 1 & 1, c >> 2) for c in range(8)]


def levels(count, log2_entries, base, finest):
    """Of each level: scale, vertices along an axis, first entry, entries, whether they are hashed."""
    growth = math.exp(math.log(finest / base) / max(count - 1, 1))
    out, first = [], 0
    for level in range(count):
        # Rounded to f32 before vertices are counted: 511.0000000001 is 511.
        scale = float(np.float32(base * growth**level - 1))
        resolution = math.ceil(scale) + 1
        entries = min(2**log2_entries, -(-resolution**3 // 8) * 8)
        out.append((scale, resolution, first, entries, resolution**3 > entries))
        first += entries
    return out


class Lookup(torch.autograd.Function):
    """Rows of the table at `index` [8, S] of each level, summed with `weight` [8, S]: [S, levels * features]. Gradient by the table alone."""

    @staticmethod
    def forward(ctx, table, grid, index, weight):
        ctx.grid, ctx.index, ctx.weight, ctx.shape = grid, index, weight, table.shape
        table = table.detach()
        columns = []
        for (_, _, first, entries, _), i, w in zip(grid, index, weight):
            rows = table[first:first + entries]
            total = rows.index_select(0, i[0]).mul_(w[0][:, None])
            for corner in range(1, 8):
                total.addcmul_(rows.index_select(0, i[corner]), w[corner][:, None])
            columns.append(total)
        return torch.cat(columns, 1)

    @staticmethod
    def backward(ctx, gradient):
        features = ctx.shape[1]
        by_table = gradient.new_zeros(ctx.shape)
        for level, ((_, _, first, entries, _), i, w) in enumerate(zip(ctx.grid, ctx.index, ctx.weight)):
            part = gradient[:, level * features:(level + 1) * features].t().contiguous()
            i = i.reshape(-1)
            for f in range(features):
                # One feature after another: rows of so few numbers PyTorch adds slowly.
                column = gradient.new_zeros(entries).index_add_(0, i, (w * part[f]).reshape(-1))
                by_table[first:first + entries, f] = column
        return by_table, None, None, None


class Encoding(nn.Module):
    def __init__(self, count, features, log2_entries, base, finest):
        super().__init__()
        self.grid = levels(count, log2_entries, base, finest)
        entries = self.grid[-1][2] + self.grid[-1][3]
        self.table = nn.Parameter((torch.rand(entries, features) * 2 - 1) * 1e-4)

    def forward(self, x):
        """Places [S, 3] in the unit cube."""
        index, weight = [], []
        x = x.t()
        for scale, resolution, _, entries, hashed in self.grid:
            p = x * scale + 0.5
            low = p.floor()
            far, cell = p - low, low.int()
            w = (1 - far, far)
            if hashed:
                # Entries are a power of two: the low bits decide, and the primes may be cut to them, so that all fits 32 bits.
                h = [[(cell[d] + bit) * (PRIMES[d] % entries) for d in range(3)] for bit in range(2)]
                at = [(h[a][0] ^ h[b][1] ^ h[c][2]) & (entries - 1) for a, b, c in CORNERS]
            else:
                # The far corner of the last cell wraps.
                at = [((cell[0] + a) + (cell[1] + b) * resolution + (cell[2] + c) * resolution**2) % entries for a, b, c in CORNERS]
            index.append(torch.stack(at))
            planes = [[w[a][0] * w[b][1] for a in range(2)] for b in range(2)]
            weight.append(torch.stack([planes[b][a] * w[c][2] for a, b, c in CORNERS]))
        return Lookup.apply(self.table, self.grid, index, weight)


class BoundedExp(torch.autograd.Function):
    """exp(min(h, 60)), its gradient exp(clamp(h, -15, 15))."""

    @staticmethod
    def forward(ctx, h):
        ctx.save_for_backward(h)
        return torch.exp(h.clamp(max=60))

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.exp(ctx.saved_tensors[0].clamp(-15, 15))


def spherical_harmonics(d):
    """The 16 up to degree 3 of directions [n, 3] of unit length."""
    x, y, z = d.unbind(1)
    xx, yy, zz = x * x, y * y, z * z
    return torch.stack([
        torch.full_like(x, 0.28209479177387814), -0.48860251190291987 * y, 0.48860251190291987 * z, -0.48860251190291987 * x,
        1.0925484305920792 * x * y, -1.0925484305920792 * y * z, 0.94617469575755997 * zz - 0.31539156525251999,
        -1.0925484305920792 * x * z, 0.54627421529603959 * (xx - yy), 0.59004358992664352 * y * (yy - 3 * xx),
        2.8906114426405538 * x * y * z, 0.45704579946446572 * y * (1 - 5 * zz), 0.3731763325901154 * z * (5 * zz - 3),
        0.45704579946446572 * x * (1 - 5 * zz), 1.4453057213202769 * z * (xx - yy), 0.59004358992664352 * x * (3 * yy - xx)], 1)


class Ngp(nn.Module):
    """`config` is the "model" part of a run's config.json."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        features, width, outputs = config["levels"] * config["features"], config["width"], config["outputs"]
        self.encoding = Encoding(config["levels"], config["features"], config["log2_entries"], config["base_resolution"],
                                 config["finest_resolution"])
        self.density = nn.Sequential(nn.Linear(features, width, bias=False), nn.ReLU(), nn.Linear(width, outputs, bias=False))
        self.colour = nn.Sequential(nn.Linear(16 + outputs, width, bias=False), nn.ReLU(), nn.Linear(width, width, bias=False), nn.ReLU(),
                                    nn.Linear(width, 3, bias=False))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        self.delta = math.sqrt(3) / config["steps"]
        self.scale = 0.5 / config["half_side"]
        cells = config["grid"]**3
        # What a field of density 1 has, a little spread: half of the cells are occupied.
        self.values = self.delta * (1 + 1e-3 * torch.randn(cells))
        self.occupy()

    def load(self, tensors):
        """Those of a run's model.safetensors."""
        tensors = dict(tensors)
        self.values = tensors.pop("occupancy.values").reshape(-1)
        tensors.pop("occupancy.rays")
        self.load_state_dict(tensors, strict=True)
        self.occupy()

    def occupy(self):
        self.threshold = min(0.01, self.values.clamp(min=0).mean().item())
        self.occupied = self.values > self.threshold

    def densities(self, places):
        h = self.density(self.encoding(places))
        return BoundedExp.apply(h[:, 0]), h

    def colours(self, h, views, ray):
        return torch.sigmoid(self.colour(torch.cat([spherical_harmonics(views)[ray], h], 1)))

    @torch.no_grad()
    def look(self, step):
        """At one in 32 cells: anywhere at first, then half of them where something is; one each in a random point."""
        cells = self.config["grid"]**3
        count = max(cells // 32, 2)
        at = torch.randint(cells, (count,))
        if step >= 256:
            on = self.occupied.nonzero()[:, 0]
            if len(on):
                at[count // 2:] = on[torch.randint(len(on), (count - count // 2,))]
        side = self.config["grid"]
        corner = torch.stack([at % side, at // side % side, at // side**2], 1)
        found = self.densities((corner + torch.rand(count, 3)) / side)[0] * self.delta
        self.values *= 0.95 ** (1 / 16)
        self.values.scatter_reduce_(0, at, found, "amax")
        self.occupy()

    def march(self, origin, views, jitter):
        """Rays [R, 3] of the scene, directions of unit length: the places [S, 3], distances [S] and rays [S] of their samples in the unit cube,
        in order. Sample k of a ray is (k + jitter) steps from its origin."""
        side = self.config["grid"]
        o = origin * self.scale + 0.5
        inverse = 1 / torch.where(views.abs() < 1e-9, torch.full_like(views, 1e-9), views)
        a, b = -o * inverse, (1 - o) * inverse
        near, far = torch.minimum(a, b).amax(1).clamp(min=0), torch.maximum(a, b).amin(1)
        # The lattice begins at the origin; of its points only those are computed that may be in the cube.
        first = torch.floor(near / self.delta - jitter)
        hits = (near < far).nonzero()[:, 0]
        o, d = o[hits], views[hits]
        k = first[hits, None] + torch.arange(self.config["steps"] + 2)
        t = (k + jitter[hits, None]) * self.delta
        x, y, z = (o[:, i, None] + t * d[:, i, None] for i in range(3))
        inside = (torch.minimum(torch.minimum(x, y), z) >= 0) & (torch.maximum(torch.maximum(x, y), z) < 1) & (t >= 0)
        at = inside.reshape(-1).nonzero()[:, 0]
        x, y, z = (v.reshape(-1)[at] for v in (x, y, z))
        cell = (x * side).int() + side * ((y * side).int() + side * (z * side).int())
        kept = self.occupied[cell]
        at = at[kept]
        places = torch.stack([x[kept], y[kept], z[kept]], 1)
        return places, t.reshape(-1)[at], hits[at // t.shape[1]]

    def composite(self, density, colour, t, ray, rays):
        """Colour [R, 3], opacity [R] and distance in the cube [R] of packed samples."""
        tau = density * self.delta
        total = torch.cumsum(tau.double(), 0)
        before = torch.cat([total.new_zeros(1), total])
        start = torch.searchsorted(ray, torch.arange(rays))
        light = torch.exp(before[start][ray] - before[:-1]).to(tau.dtype)
        weights = light * -torch.expm1(-tau)
        summed = [tau.new_zeros(rays).index_add(0, ray, weights * v) for v in (*colour.t(), torch.ones_like(t), t)]
        return torch.stack(summed[:3], 1), summed[3], summed[4]

    def forward(self, origin, views, jitter, background):
        """Colours over the background, opacity, distance in the cube, number of samples."""
        places, t, ray = self.march(origin, views, jitter)
        density, h = self.densities(places)
        colour, opacity, distance = self.composite(density, self.colours(h, views, ray), t, ray, len(origin))
        return colour + (1 - opacity)[:, None] * background, opacity, distance, len(places)


def colour_error(colour, target, kind="huber"):
    """Of each ray, sum over the channels."""
    e = colour - target
    if kind == "l2":
        return e.square().sum(1)
    return torch.where(e.abs() > 0.1, 0.2 * e.abs() - 0.01, e.square()).sum(1)


BLENDER = {"half_side": 1.5, "levels": 8, "features": 4, "log2_entries": 17, "base_resolution": 16, "finest_resolution": 512, "width": 64, "outputs": 16,
           "grid": 64, "steps": 256, "target_samples": 16_384, "loss": "huber", "weight_decay": 1e-6}


def pictures(folder, split):
    """Pictures [V, H, W, 4] u8, poses [V, 3, 4] and the camera of a scene in Blender's files."""
    from PIL import Image
    with open(os.path.join(folder, f"transforms_{split}.json")) as file:
        meta = json.load(file)
    images = np.stack([np.asarray(Image.open(os.path.join(folder, f["file_path"] + ".png")).convert("RGBA")) for f in meta["frames"]])
    poses = torch.tensor([f["transform_matrix"][:3] for f in meta["frames"]], dtype=torch.float32)
    height, width = images.shape[1:3]
    focal = 0.5 * width / math.tan(0.5 * meta["camera_angle_x"])
    return torch.from_numpy(images), poses, {"width": width, "height": height, "fx": focal, "fy": focal, "cx": width / 2, "cy": height / 2,
                                             "pixel_offset": 0.5}


@torch.no_grad()
def test(model, folder, rays=4096):
    """PSNR of each test view over white, from the samples at the middle of each step."""
    images, poses, camera = pictures(folder, "test")
    height, width = images.shape[1:3]
    at = torch.arange(width * height)
    found = []
    for image, pose in zip(images.reshape(len(images), -1, 4).float() / 255, poses):
        origin, direction = camera_rays(pose.expand(len(at), 3, 4), camera, (at % width).float(), (at // width).float())
        views = direction / direction.norm(dim=1, keepdim=True)
        colours = [model(o, v, torch.full((len(o),), 0.5), torch.ones(3))[0] for o, v in zip(origin.split(rays), views.split(rays))]
        truth = image[:, :3] * image[:, 3:] + 1 - image[:, 3:]
        found.append(-10 * math.log10((torch.cat(colours).clamp(0, 1) - truth).square().mean().item()))
    return found


def train(arguments):
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    images, poses, camera = pictures(arguments.data, "train")
    model = Ngp(BLENDER)
    matrices = [*model.density.parameters(), *model.colour.parameters()]
    optimizer = torch.optim.Adam([{"params": matrices, "weight_decay": BLENDER["weight_decay"]}, {"params": [model.encoding.table]}],
                                 1e-2, (0.9, 0.99), 1e-15, fused=True)
    height, width = images.shape[1:3]
    images = images.reshape(-1, 4)
    rays, times, seen, figures = arguments.rays, [], [], []
    for step in range(arguments.steps):
        began, processor = time.perf_counter(), time.process_time()
        rate = 1e-2 * min(1.0, (step + 1) / 50) * 0.33 ** sum(step >= m * arguments.of for m in (0.5, 0.75, 0.9))
        for group in optimizer.param_groups:
            group["lr"] = rate
        pixel = torch.randint(len(images), (rays,))
        x, y = (pixel % width).float(), (pixel // width % height).float()
        origin, direction = camera_rays(poses[pixel // (width * height)], camera, x, y)
        views = direction / direction.norm(dim=1, keepdim=True)
        rgba = images[pixel].float() / 255
        background = torch.rand(rays, 3)
        target = rgba[:, :3] * rgba[:, 3:] + (1 - rgba[:, 3:]) * background
        colour, _, _, samples = model(origin, views, torch.rand(rays), background)
        loss = colour_error(colour, target, BLENDER["loss"]).mean()
        optimizer.zero_grad()
        loss.backward()
        model.look(step)
        optimizer.step()
        times.append((time.perf_counter() - began, time.process_time() - processor))
        seen.append((rays, samples))
        figures.append((colour.detach() - target).square().mean().item())
        if not arguments.fixed_rays:
            rays = int(min(4096, max(64, rays * min(2.0, BLENDER["target_samples"] / max(1, samples)))))
        if (step + 1) % arguments.every == 0:
            last = slice(-arguments.every, None)
            wall, spent = np.array(times)[last].T * 1000
            count = np.array(seen)[last].mean(0)
            print(json.dumps({"step": step + 1, "ms": round(float(np.median(wall)), 1), "cpu_ms": round(float(spent.mean()), 1),
                              "rays": round(float(count[0])), "samples": round(float(count[1])),
                              "psnr": round(-10 * math.log10(np.mean(figures[last])), 2)}), flush=True)
        if step + 1 in arguments.test:
            began = time.perf_counter()
            views = test(model, arguments.data)
            print(json.dumps({"step": step + 1, "test_psnr": round(float(np.mean(views)), 3), "worst": round(min(views), 2),
                              "views": len(views), "s_a_view": round((time.perf_counter() - began) / len(views), 3)}), flush=True)


def render(arguments):
    """Test views of what wgen trained: PSNR, and seconds a view."""
    from safetensors.torch import load_file
    torch.set_num_threads(arguments.threads)
    with open(os.path.join(arguments.render, "config.json")) as file:
        config = json.load(file)["model"]
    model = Ngp(config)
    model.load(load_file(os.path.join(arguments.render, "model.safetensors")))
    began = time.perf_counter()
    views = test(model, arguments.data)
    print(json.dumps({"test_psnr": round(float(np.mean(views)), 4), "worst": round(min(views), 2), "views": len(views),
                      "s_a_view": round((time.perf_counter() - began) / len(views), 3)}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="../shared/data/nerf/chair")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--of", type=int, default=3500, help="steps of the whole run, by which the rate falls")
    parser.add_argument("--every", type=int, default=50, help="steps between two lines; ms is the median of their time, cpu_ms the mean of their CPU time")
    parser.add_argument("--test", type=lambda s: [int(n) for n in s.split(",")], default=[], help="steps after which the test views are rendered: 750,3500")
    parser.add_argument("--rays", type=int, default=1024, help="of the first step")
    parser.add_argument("--fixed-rays", action="store_true", help="as many in all steps")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--render", metavar="RUN", help="render the test views of a run of wgen instead")
    arguments = parser.parse_args()
    render(arguments) if arguments.render else train(arguments)
