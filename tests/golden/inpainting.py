#!/usr/bin/env python3
"""Writes tests/golden/inpainting.json and inpainting.safetensors: pictures of four values completed by loops in f64 that know nothing of rows and tables, of the
law N(0.3, 0.5^2), whose denoiser is known; and RePaint's ways as diffusers' RePaintScheduler has them. Never our own code.

    python3 -m venv .venv && .venv/bin/pip install -r tests/golden/requirements.txt
    .venv/bin/python tests/golden/inpainting.py

T = 1000, linear betas, trailing timesteps. Each loop keeps k of the picture y: after a step x <- k (a y + s z) + (1 - k) x at the level arrived at.
"""
import json
import math
import os

import numpy as np
import torch
from diffusers import RePaintScheduler
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.set_default_dtype(torch.float64)
out, about = {}, {}

abar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)
picture = torch.tensor([0.8, -0.45, 0.1, -0.9])
mask = torch.tensor([1.0, 0.0, 0.3, 0.75])
start = torch.tensor([-2.0, -0.7, 0.4, 1.5])
fixed = torch.tensor([-1.1, 0.35, 0.9, -0.2])


def waves(what, visit):
    """Noise of a visit: no law is asked of it."""
    return torch.cos(torch.arange(4.0) * 1.7 + 0.9 * visit + {"step": 0.0, "known": 2.0, "jump": 4.0}[what])


def denoise(x, a, s):
    return 0.3 + a * 0.25 * (x - a * 0.3) / (a * a * 0.25 + s * s)


def levels(n):
    t = [round(1000 - i * 1000 / n) - 1 for i in range(n)]
    return [(math.sqrt(abar[i]), math.sqrt(1 - abar[i])) for i in t] + [(1.0, 0.0)]


def lay(x, at, noise):
    a, s = at
    return mask * (a * picture + s * noise) + (1 - mask) * x


def first(n):
    """The noise that leads from x_0 to x stays."""
    x, at = start, levels(n)
    for now, then in zip(at, at[1:]):
        m = denoise(x, *now)
        noise = (x - now[0] * m) / now[1]
        x = lay(then[0] * m + then[1] * noise, then, fixed)
    return x


def heun(n):
    """Karras et al. 2022, algorithm 1, in x / a over s / a; laid over whole steps."""
    x, at = start, levels(n)
    for now, then in zip(at, at[1:]):
        sigma, sigma_next = now[1] / now[0], then[1] / then[0]
        tangent = (x / now[0] - denoise(x, *now)) / sigma
        tried = x / now[0] + (sigma_next - sigma) * tangent
        if sigma_next > 0:
            other = (tried - denoise(then[0] * tried, *then)) / sigma_next
            tried = x / now[0] + (sigma_next - sigma) * 0.5 * (tangent + other)
        x = lay(then[0] * tried, then, fixed)
    return x


def half_log_snr(at):
    return math.log(at[0] / at[1]) if at[1] > 0 else math.inf


def multistep(x, m, before, at, i, n, first_last):
    """DPM-Solver++ (2M), midpoint."""
    now, then = at[i], at[i + 1]
    h = half_log_snr(then) - half_log_snr(now)
    d = m
    if i > 0 and then[1] > 0 and not (first_last and i == n - 1):
        h0 = half_log_snr(now) - half_log_snr(at[i - 1])
        d = m + 0.5 * h / h0 * (m - before)
    return then[1] / now[1] * x - then[0] * math.expm1(-h) * d


def two_m(n):
    x, at, before = start, levels(n), None
    for i in range(n):
        m = denoise(x, *at[i])
        x, before = lay(multistep(x, m, before, at, i, n, True), at[i + 1], fixed), m
    return x


def unipc(n):
    """Zhao et al. 2023 with B(h) = e^h - 1. The corrected x is that of the picture where it is known: the one whose prediction is y, moved by what differs from it."""
    x, at, corrected, history = start, levels(n), None, []
    for i in range(n):
        a, s = at[i]
        m = denoise(x, a, s)
        if i == 0:
            corrected = x
        else:
            h = half_log_snr(at[i]) - half_log_snr(at[i - 1])
            p = math.expm1(-h)
            order = min(2, i, n - i + 1)
            if order == 1:
                r1, r2, older = 0.0, 0.5, 0.0
            else:
                k = (half_log_snr(at[i - 2]) - half_log_snr(at[i - 1])) / h
                phi = p / -h - 1
                b = np.array([phi / p, 2 * (phi / -h - 0.5) / p])
                r1, r2 = np.linalg.solve(np.array([[1.0, 1.0], [k, 1.0]]), b)
                older = (history[-2] - history[-1]) / k
            plain = s / at[i - 1][1] * corrected - a * p * (history[-1] + r1 * older + r2 * (m - history[-1]))
            corrected = mask * (a * picture + s * fixed - a * p * r2 * (m - picture)) + (1 - mask) * plain
        before = history[-1] if history else None
        x = lay(multistep(corrected, m, before, at, i, n, True), at[i + 1], fixed)
        history.append(m)
    return x


def ways(n, length, times):
    """Steps down (t to t - 1) and jumps, from diffusers."""
    scheduler = RePaintScheduler()
    scheduler.set_timesteps(n, length, times)
    return [int(t) // (1000 // n) for t in scheduler.timesteps]


def repaint(n, length, times, eta, posterior):
    """Algorithm 1, a jump in one draw: x at t is at level n - 1 - t."""
    x, at, t = start, levels(n), ways(n, length, times)
    visit, i = 0, 0
    while i < len(t):
        now = at[n - 1 - t[i]]
        then = at[n - t[i]]
        m = denoise(x, *now)
        beta = 1 - (now[0] / then[0]) ** 2
        tilde = beta * then[1] ** 2 / now[1] ** 2
        if posterior:
            mean = (then[0] * beta * m + (now[0] / then[0]) * then[1] ** 2 * x) / now[1] ** 2
            deviation = math.sqrt(tilde)
        else:
            deviation = eta * math.sqrt(tilde)
            noise = (x - now[0] * m) / now[1]
            mean = then[0] * m + math.sqrt(max(then[1] ** 2 - deviation**2, 0)) * noise
        x = lay(mean + deviation * waves("step", visit), then, waves("known", visit))
        # From here up, as long as diffusers goes up.
        i += 1
        top = i
        while top < len(t) and top + 1 < len(t) and t[top + 1] > t[top]:
            top += 1
        if top > i:
            up = at[n - 1 - t[top]]
            ratio = up[0] ** 2 / then[0] ** 2
            x = math.sqrt(ratio) * x + math.sqrt(1 - ratio) * waves("jump", visit)
            i = top
        visit += 1
    return x


out["picture"], out["mask"], out["start"], out["fixed"] = picture, mask, start, fixed
out["first"], out["heun"], out["two_m"], out["unipc"] = first(10), heun(10), two_m(10), unipc(10)
out["repaint/ddpm"] = repaint(20, 5, 3, 1.0, True)
out["repaint/ddim"] = repaint(20, 5, 3, 0.7, False)
for n, length, times in ((250, 10, 10), (20, 5, 3), (20, 3, 2), (10, 4, 1), (25, 10, 2)):
    way = ways(n, length, times)
    down = sum(b < a for a, b in zip(way, way[1:] + [-1]))
    about[f"{n},{length},{times}"] = {"steps": len(way), "calls": down, "way": way if n < 100 else way[:40]}
save_file({name: t.contiguous() for name, t in out.items()}, f"{HERE}/inpainting.safetensors")
with open(f"{HERE}/inpainting.json", "w") as file:
    json.dump(about, file)
    file.write("\n")
for name in out:
    print(name, out[name].tolist())
print({k: (v["steps"], v["calls"]) for k, v in about.items()})
