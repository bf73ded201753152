#!/usr/bin/env python3
"""Golden gradients of whole radiance fields in f64: one training step of each case, small. See generate.py; run in the same way.

A case has `data` [R, 8], rows of red, green, blue, alpha and the pixel's number (u32, little endian), and `poses` [V, 12]; `loss` and the other figures
as they are reported (`metrics`); for each parameter `w/NAME`, and `g/NAME` where it has a gradient. Random numbers are drawn from the Philox streams
that wgen uses. What is continuous but has kinks (relu), or is decided by comparisons (which samples a ray has), is kept away from them.

Samples of the hash grid are found here by walking all points of a ray's lattice, and its table is looked up by plain indexing, so that autograd
differentiates it; `scripts/pytorch_ngp.py`, which is written to be fast, must agree.
"""
import math
import os
import sys

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "..", "scripts"))
import pytorch_nerf as vanilla  # noqa: E402
import pytorch_ngp as hashed  # noqa: E402
from generate import philox4x32, stream_of  # noqa: E402

SEED, STEP, RAYS, VIEWS = 0x0123456789ABCDEF, 41, 12, 3
WIDTH, HEIGHT = 24, 20
CAMERA = {"width": WIDTH, "height": HEIGHT, "fx": 28.0, "fy": 28.0, "cx": WIDTH / 2, "cy": HEIGHT / 2, "pixel_offset": 0.5}
# No pre-activation is closer to 0 than this.
KINK = 1e-5
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


def words(name, rows, columns):
    """Random words of a step, as `Graph::random` draws them: [rows, columns], an even number of them in all."""
    count = rows * columns
    counter = np.zeros(((count + 3) // 4, 4), np.uint64)
    counter[:, 0] = np.arange(len(counter))
    counter[:, 1] = STEP
    counter[:, 3] = stream_of("training/" + name)
    drawn = philox4x32(counter, (SEED & 0xFFFFFFFF, SEED >> 32))
    return (drawn.reshape(-1)[:count + count % 2] >> np.uint64(8)).astype(np.float64)


def uniforms(name, rows, columns):
    return torch.from_numpy(words(name, rows, columns)[:rows * columns].reshape(rows, columns) * 2.0**-24)


def normals(name, rows, columns):
    pairs = words(name, rows, columns).reshape(-1, 2)
    radius, angle = np.sqrt(-2 * np.log((pairs[..., 0] + 1) * 2.0**-24)), pairs[..., 1] * (2 * math.pi * 2.0**-24)
    both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    return torch.from_numpy(both.reshape(-1)[:rows * columns].reshape(rows, columns).copy())


def single(x):
    """Numbers that f32 holds exactly."""
    return x.float().double()


def poses():
    """Cameras 4 away that look at the origin, z up: [V, 3, 4]."""
    out = []
    for angle, height in [(0.3, 0.5), (2.1, -0.4), (4.4, 0.9)]:
        back = F.normalize(torch.tensor([math.cos(angle), math.sin(angle), height]), dim=0)
        right = F.normalize(torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]), back), dim=0)
        out.append(torch.stack([right, torch.linalg.cross(back, right), back, 4 * back], 1))
    return single(torch.stack(out))


POSES = poses()


def rows_of(pixel):
    digits = torch.stack([(pixel >> (8 * k)) & 255 for k in range(4)], 1)
    return torch.cat([torch.randint(0, 256, (len(pixel), 4)), digits], 1).double()


class Batch:
    """Rays of pixels, what they should see, what lies behind."""

    def __init__(self, pixel, background):
        count = len(pixel)
        self.data = rows_of(pixel)
        x, y, view = (pixel % WIDTH).double(), (pixel // WIDTH % HEIGHT).double(), pixel // (WIDTH * HEIGHT)
        self.origin, self.direction = vanilla.rays(POSES[view], CAMERA, x, y)
        self.views = self.direction / self.direction.norm(dim=1, keepdim=True)
        self.background = uniforms("background", count, 3) if background == "random" else torch.ones(count, 3)
        rgba = self.data[:, :4] / 255
        self.target = rgba[:, :3] * rgba[:, 3:] + (1 - rgba[:, 3:]) * self.background
        half = lambda at, size, focal: ((at + 0.5 - size / 2) / focal).abs() < size / 4 / focal
        self.middle = (half(x, WIDTH, CAMERA["fx"]) & half(y, HEIGHT, CAMERA["fy"])).double()


def finish(out, name, batch, metrics, tensors, gradients):
    out[f"{name}/data"] = batch.data
    out[f"{name}/poses"] = POSES.reshape(VIEWS, 12).clone()
    out[f"{name}/metrics"] = torch.stack([torch.as_tensor(m, dtype=torch.float64).detach() for m in metrics])
    for key, value in tensors.items():
        out[f"{name}/w/{key}"] = value.detach().clone()
    for key, value in gradients.items():
        out[f"{name}/g/{key}"] = value.clone()


# ---- Coarse and fine ----

SMALL = {"camera": CAMERA, "near": 2.0, "far": 6.0, "coarse": 8, "fine": 7, "depth": 4, "width": 14, "skips": [1], "view_directions": True,
         "point_octaves": 3, "direction_octaves": 2, "background": "white", "inverse_distance": False, "ndc": False, "raw_noise": 0.0}


def nerf(out, name, config, weight):
    """`weight` is the schedule's: below 1, rays outside of the middle count for nothing."""
    networks = vanilla.networks(config)
    prefixes = ["network_fn.", "network_fine."]
    while True:
        batch = Batch(torch.randint(0, VIEWS * WIDTH * HEIGHT, (RAYS,)), config["background"])
        with torch.no_grad():
            for network in networks:
                network.closest = []
                for key, p in network.named_parameters():
                    # Densities of both signs, whose samples are neither clear nor opaque.
                    p.copy_(single(p * 1.5 + 0.05 * torch.randn_like(p)))
                    if key in ("alpha_linear.bias", "output_linear.bias"):
                        p[-1 if key.startswith("alpha") else 3] += 0.25
        draws = {"stratified": uniforms("stratified", RAYS, config["coarse"])}
        if config["fine"]:
            draws["sample_pdf"] = uniforms("sample_pdf", RAYS, config["fine"])
        if config["raw_noise"]:
            draws["raw noise"] = config["raw_noise"] * normals("raw noise", RAYS, config["coarse"])
            draws["raw noise, fine"] = config["raw_noise"] * normals("raw noise, fine", RAYS, config["coarse"] + config["fine"])
        seen = vanilla.render(networks, config, batch.origin, batch.direction, batch.background, draws)
        near = min(min(network.closest) for network in networks)
        counted = batch.middle if weight < 1 else torch.ones(RAYS)
        if near > KINK and counted.sum() >= 4:
            break
    error = lambda colour: ((colour - batch.target).square().mean(1) * counted).sum() / counted.mean()
    errors = [error(colour) for colour, *_ in seen]
    loss = sum(errors)
    (loss / RAYS).backward()
    of = lambda value: {f"{prefix}{key}": value(p) for prefix, network in zip(prefixes, networks) for key, p in network.named_parameters()}
    zero_where_unused = lambda p: torch.zeros_like(p) if p.grad is None else p.grad
    finish(out, name, batch, [loss, errors[-1], error(batch.background)], of(lambda p: p), of(zero_where_unused))
    opacity = seen[-1][1]
    print(f"{name}: loss {loss.item():.6f}, {int(counted.sum())} rays, opacity {opacity.min():.3f} to {opacity.max():.3f}, pre-activations from {near:.1e}")


# ---- The hash grid ----

TINY = {"half_side": 1.5, "levels": 3, "features": 2, "log2_entries": 7, "base_resolution": 4, "finest_resolution": 12, "width": 12, "outputs": 5,
        "grid": 8, "steps": 24, "capacity": 400, "background": "random", "loss": "huber", "weight_decay": 1e-6, "cascades": 1, "octave_steps": 0,
        "exposures": 0}
# What the mean square of the exposures' logarithms adds to the loss.
EXPOSURE_DECAY = 1e-3


def lattice(config, origin, view, jitter, occupied):
    """Samples of one ray, [n, 4], how long their steps are, in shortest ones, and how close one comes to the wall of a cell, in cells: every point of the
    lattice is looked at, in the smallest cube that holds it."""
    side, cascades, octave = config["grid"], config["cascades"], config["octave_steps"]
    dt = math.sqrt(3) / (config["steps"] * 2 ** (cascades - 1))
    begins, lengths, at = [], [], 0
    while at < 8 * config["steps"] * 2 ** (cascades - 1):
        length = 1
        while octave and length < 2 ** (cascades - 1) and at >= 2 * octave * length:
            length *= 2
        begins.append(at)
        lengths.append(length)
        at += length
    begins, lengths = torch.tensor(begins), torch.tensor(lengths)
    t = (begins // lengths + jitter) * (dt * lengths)
    x = (origin * (0.5 / config["half_side"]) + 0.5) + t[:, None] * view
    kept, seen, near = torch.zeros(len(t), dtype=torch.bool), torch.zeros(len(t), dtype=torch.bool), 1.0
    for cascade in range(cascades):
        scaled = x * side if cascades == 1 else ((x - 0.5) * 2 ** (cascades - 1 - cascade) + 0.5) * side
        about = ((scaled > -0.5) & (scaled < side + 0.5)).all(1)
        wall = (scaled - scaled.round()).abs()[about]
        near = min(near, wall.min().item() if len(wall) else 1.0)
        cell = scaled.floor().long()
        inside = ((cell >= 0) & (cell < side)).all(1) & ~seen
        cell = cell.clamp(0, side - 1)
        kept |= inside & occupied[side**3 * cascade + cell[:, 0] + side * (cell[:, 1] + side * cell[:, 2])]
        seen |= inside
    return torch.cat([x, t[:, None]], 1)[kept], lengths[kept].double(), near


def plain_encoding(x, table, grid):
    columns = []
    for scale, resolution, first, entries, shared in grid:
        p = x * scale + 0.5
        cell, total = p.floor().long(), 0
        f = p - cell
        for corner in range(8):
            bits = [corner >> d & 1 for d in range(3)]
            v = [cell[:, d] + bits[d] for d in range(3)]
            if shared:
                index = (v[0] ^ (v[1] * hashed.PRIMES[1]) ^ (v[2] * hashed.PRIMES[2])) & 0xFFFFFFFF
            else:
                index = v[0] + v[1] * resolution + v[2] * resolution**2
            weight = math.prod(f[:, d] if bits[d] else 1 - f[:, d] for d in range(3))
            total = total + weight[:, None] * table[first + index % entries]
        columns.append(total)
    return torch.cat(columns, 1)


def ngp(out, name, config, rays, active):
    """Of `rays` rays the first `active` are asked for, and of these count what fits into the capacity."""
    model = hashed.Ngp(config)
    cells = config["cascades"] * config["grid"]**3
    exposure = nn.Parameter(0.3 * single(torch.randn(VIEWS, 3))) if config["exposures"] else None
    while True:
        with torch.no_grad():
            for key, p in model.named_parameters():
                p.copy_(single(0.5 * torch.randn_like(p) if key == "encoding.table" else p * 1.5))
        model.values = 0.05 * (torch.rand(cells) < 0.4).double()
        model.values[::7] = -1.0  # seen by no camera
        innermost = model.values[:config["grid"]**3]
        model.occupied = model.values > min(0.01, innermost.clamp(min=0).mean().item())
        jitter = uniforms("jitter", rays, 1)[:, 0]
        # Pixels whose rays have no sample at a wall.
        pixel = []
        while len(pixel) < rays:
            one = torch.randint(0, VIEWS * WIDTH * HEIGHT, (1,))
            ray = Batch(one, "white")
            if lattice(config, ray.origin[0], ray.views[0], jitter[len(pixel)], model.occupied)[2] > 3e-5:
                pixel.append(one)
        batch = Batch(torch.cat(pixel), config["background"])
        marched = [lattice(config, o, d, j, model.occupied)[:2] for o, d, j in zip(batch.origin, batch.views, jitter)]
        samples = [x for x, _ in marched]
        kept, number = 0, 0
        while kept < active and number + len(samples[kept]) <= config["capacity"]:
            number += len(samples[kept])
            kept += 1
        packed, lengths = torch.cat(samples[:kept]), torch.cat([each for _, each in marched[:kept]])
        ray = torch.repeat_interleave(torch.arange(kept), torch.tensor([len(s) for s in samples[:kept]]))
        features = plain_encoding(packed[:, :3], model.encoding.table, model.encoding.grid)
        h0 = model.density[0](features)
        h = model.density[2](F.relu(h0))
        c0 = model.colour[0](torch.cat([hashed.spherical_harmonics(batch.views[:kept])[ray], h], 1))
        c1 = model.colour[2](F.relu(c0))
        colour = torch.sigmoid(model.colour[4](F.relu(c1)))
        near = min(v.abs().min().item() for v in (h0, c0, c1))
        if near > KINK:
            break
    # exp's own gradient: no h is beyond where it is bounded.
    assert h[:, 0].abs().max() < 14
    tau = torch.exp(h[:, 0]) * model.delta * lengths
    seen, acc = [], []
    for r in range(kept):
        own = ray == r
        alpha = 1 - torch.exp(-tau[own])
        weights = alpha * torch.exp(-(torch.cumsum(tau[own], 0) - tau[own]))
        seen.append((weights[:, None] * colour[own]).sum(0))
        acc.append(weights.sum())
    acc = torch.stack(acc)
    factors = exposure[torch.cat(pixel)[:kept] // (WIDTH * HEIGHT)].exp() if config["exposures"] else 1.0
    seen = torch.stack(seen) * factors + (1 - acc)[:, None] * batch.background[:kept]
    e = seen - batch.target[:kept]
    if config["loss"] == "l2":
        each = e.square()
    else:
        # Five times less than Huber's loss of threshold 0.1, which begins with e^2 / 2.
        each = F.huber_loss(seen, batch.target[:kept], reduction="none", delta=0.1) * 2
    loss = each.sum(1).mean()
    matrices = {k: p for k, p in model.named_parameters() if k != "encoding.table"}
    loss.backward()
    gradients = {k: p.grad + (config["weight_decay"] * p.detach() if k in matrices else 0) for k, p in model.named_parameters()}
    if config["exposures"]:
        gradients["exposure"] = exposure.grad + 2 * EXPOSURE_DECAY / exposure.numel() * exposure.detach()
    values = model.values if config["cascades"] == 1 else model.values.reshape(config["cascades"], -1)
    tensors = {**dict(model.named_parameters()), "occupancy.values": values, "occupancy.rays": torch.tensor([float(active)])}
    if config["exposures"]:
        tensors["exposure"] = exposure
    mean_square = lambda e: e.square().mean(1).mean() * rays
    background = mean_square(batch.background[:kept] - batch.target[:kept])
    metrics = [loss * rays, mean_square(e), background, float(kept * rays), float(number * rays)]
    finish(out, name, batch, metrics, tensors, gradients)

    print(f"{name}: loss {loss.item():.6f}, {kept} of {active} rays, {number} samples, most {max(map(len, samples))}, steps of {sorted(set(lengths.tolist()))}, "
          f"opacity {acc.min():.3f} to {acc.max():.3f}, |e| {e.abs().min():.3f} to {e.abs().max():.3f}, pre-activations from {near:.1e}")
    if config["cascades"] > 1:
        return
    # The fast one.
    model.zero_grad()
    fast, opacity, _, count = model(batch.origin[:kept], batch.views[:kept], jitter[:kept], batch.background[:kept])
    assert count == number and (opacity - acc).abs().max() < 1e-12
    again = hashed.colour_error(fast, batch.target[:kept], config["loss"]).mean()
    again.backward()
    assert abs(again - loss) < 1e-12
    for key, p in model.named_parameters():
        decay = config["weight_decay"] * p.detach() if key in matrices else 0
        assert (p.grad + decay - gradients[key]).abs().max() < 1e-10 * gradients[key].abs().max(), key


def main():
    out = {}
    torch.manual_seed(20270402)
    nerf(out, "nerf", SMALL, 1.0)
    plain = {**SMALL, "view_directions": False, "background": "random", "inverse_distance": True, "raw_noise": 0.5, "skips": [0, 2]}
    nerf(out, "nerf_plain", plain, 0.0)
    ngp(out, "ngp", TINY, 24, 22)
    full = {**TINY, "features": 4, "capacity": 90, "background": "white", "loss": "l2"}
    ngp(out, "ngp_full", full, 24, 24)
    around = {**TINY, "half_side": 6.0, "cascades": 3, "octave_steps": 16, "exposures": VIEWS}
    ngp(out, "ngp_around", around, 24, 22)
    save_file({k: v.contiguous() for k, v in out.items()}, os.path.join(HERE, "nerf_models.safetensors"))


if __name__ == "__main__":
    main()
