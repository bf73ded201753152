#!/usr/bin/env python3
"""Golden tensors of NeRF's encodings and samples along rays. See generate.py; run in the same way.

The formulas are nerf-pytorch's (yenchenlin/nerf-pytorch 63a5a63) and tiny-cuda-nn's (NVlabs/tiny-cuda-nn 6ee3546, spherical harmonics),
written here anew; gradients are PyTorch's.
"""
import os

import torch
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(20261126)
torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)


def encode(x, octaves):
    parts = [x]
    for k in range(octaves):
        parts += [torch.sin(x * 2.0**k), torch.cos(x * 2.0**k)]
    return torch.cat(parts, -1)


def harmonics(d):
    x, y, z = d.unbind(-1)
    xy, xz, yz, x2, y2, z2 = x * y, x * z, y * z, x * x, y * y, z * z
    return torch.stack(
        [
            torch.full_like(x, 0.28209479177387814),
            -0.48860251190291987 * y,
            0.48860251190291987 * z,
            -0.48860251190291987 * x,
            1.0925484305920792 * xy,
            -1.0925484305920792 * yz,
            0.94617469575755997 * z2 - 0.31539156525251999,
            -1.0925484305920792 * xz,
            0.54627421529603959 * x2 - 0.54627421529603959 * y2,
            0.59004358992664352 * y * (-3.0 * x2 + y2),
            2.8906114426405538 * xy * z,
            0.45704579946446572 * y * (1.0 - 5.0 * z2),
            0.3731763325901154 * z * (5.0 * z2 - 3.0),
            0.45704579946446572 * x * (1.0 - 5.0 * z2),
            1.4453057213202769 * z * (x2 - y2),
            0.59004358992664352 * x * (-x2 + 3.0 * y2),
        ],
        -1,
    )


def sample_pdf(bins, weights, u):
    weights = weights + 1e-5
    pdf = weights / torch.sum(weights, -1, keepdim=True)
    cdf = torch.cumsum(pdf, -1)
    cdf = torch.cat([torch.zeros_like(cdf[..., :1]), cdf], -1)
    inds = torch.searchsorted(cdf, u.contiguous(), right=True)
    below = torch.max(torch.zeros_like(inds), inds - 1)
    above = torch.min((cdf.shape[-1] - 1) * torch.ones_like(inds), inds)
    c0, c1 = torch.gather(cdf, 1, below), torch.gather(cdf, 1, above)
    b0, b1 = torch.gather(bins, 1, below), torch.gather(bins, 1, above)
    denom = c1 - c0
    denom = torch.where(denom < 1e-5, torch.ones_like(denom), denom)
    return b0 + (u - c0) / denom * (b1 - b0)


def depths(near, far, samples, lindisp):
    t = torch.linspace(0.0, 1.0, samples)
    return 1.0 / (1.0 / near * (1.0 - t) + 1.0 / far * t) if lindisp else near * (1.0 - t) + far * t


def main():
    out = {}

    def differentiable(name, x, function):
        x.requires_grad_()
        y = function(x)
        g = torch.randn(y.shape)
        y.backward(g)
        out.update({f"{name}/x0": x.detach(), f"{name}/y": y.detach(), f"{name}/g": g, f"{name}/d0": x.grad})

    for octaves, scale in [(1, 1.0), (4, 1.0), (10, 6.0)]:
        differentiable(f"frequency_{octaves}", scale * torch.randn(5, 3), lambda x: encode(x, octaves))
    d = torch.randn(7, 3)
    differentiable("harmonics_unit", d / d.norm(dim=-1, keepdim=True), harmonics)
    differentiable("harmonics_any", torch.randn(4, 3), harmonics)

    for lindisp in [False, True]:
        z = depths(2.0, 6.0, 8, lindisp).expand(3, 8)
        mids = 0.5 * (z[:, 1:] + z[:, :-1])
        lower, upper = torch.cat([z[:, :1], mids], -1), torch.cat([mids, z[:, -1:]], -1)
        u = torch.rand(3, 8)
        name = "stratified_disparities" if lindisp else "stratified"
        out.update({f"{name}/x0": u, f"{name}/y": lower + (upper - lower) * u, f"{name}/even": z.contiguous()})

    # What is visible of one surface, of haze, of nothing; an opaque one, whose other masses count as none.
    z = out["stratified/y"].repeat(2, 1)[:5].contiguous()
    weights = torch.rand(5, 8) * torch.tensor([[1.0], [0.01], [0.0], [0.0], [30.0]])
    weights[3, 3] = 1.0
    weights[0, 2:5] = 0.0
    mids = 0.5 * (z[:, 1:] + z[:, :-1])
    given = torch.rand(5, 11)
    given[3, :4] = torch.tensor([0.0, 4e-6, 1.4e-5, 1.0 - 3e-6])
    for name, u in [("fine_given", given), ("fine_even", torch.linspace(0.0, 1.0, 11).expand(5, 11))]:
        fine = sample_pdf(mids, weights[:, 1:-1], u)
        merged = torch.sort(torch.cat([z, fine], -1), -1)[0]
        out.update({f"{name}/x0": z.clone(), f"{name}/x1": weights.clone(), f"{name}/y": merged})
    out["fine_given/x2"] = given

    save_file({name: tensor.contiguous() for name, tensor in out.items()}, os.path.join(HERE, "nerf_encodings.safetensors"))
    print(len(out), "tensors")


if __name__ == "__main__":
    main()
