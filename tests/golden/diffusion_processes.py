#!/usr/bin/env python3
"""Writes tests/golden/diffusion_processes.safetensors: what diffusers 0.42.1 makes of flows, EDM, LCM and dynamic thresholding, never our own code.

    .venv/bin/python tests/golden/diffusion_processes.py

A loop NAME has `NAME/start`, `NAME/noise` (a draw a step, where it draws), `NAME/timesteps` and `NAME/x`, the sample after each step. The network is
the same everywhere: at t it says of x `0.8 sin(3 x) + 0.4 cos(t / 100)`, in f64, of EDM's scaled input. Embeddings of timesteps that are between the
integers and below 0 are by their formula in f64.
"""
import math
import os

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
)
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.set_num_threads(1)
out = {}


def network(x, t):
    return 0.8 * torch.sin(3 * x) + 0.4 * math.cos(float(t) / 100)


def start(scale=1.0):
    generator = torch.Generator().manual_seed(7)
    return scale * torch.randn(3, 1, 4, 5, generator=generator, dtype=torch.float64)


def loop(name, scheduler, steps, x, gain=1.0):
    scheduler.set_timesteps(steps)
    scaled = hasattr(scheduler, "scale_model_input") and isinstance(scheduler, EDMEulerScheduler)
    out[f"{name}/start"] = x
    xs, noises, timesteps = [], [], []
    for i, t in enumerate(scheduler.timesteps):
        shown = scheduler.scale_model_input(x, t) if scaled else x
        prediction = gain * network(shown.double(), t)
        generator = torch.Generator().manual_seed(100 + i)
        keywords = {} if isinstance(scheduler, (DDIMScheduler, UniPCMultistepScheduler)) else {"generator": generator}
        x = scheduler.step(prediction, t, x, **keywords).prev_sample
        noises.append(torch.randn(x.shape, generator=torch.Generator().manual_seed(100 + i), dtype=prediction.dtype))
        xs.append(x.double())
        timesteps.append(float(t))
    out[f"{name}/x"] = torch.stack(xs)
    out[f"{name}/noise"] = torch.stack(noises)
    out[f"{name}/timesteps"] = torch.tensor(timesteps, dtype=torch.float64)


betas = dict(num_train_timesteps=1000, beta_start=0.0001, beta_end=0.02)
loop("lcm", LCMScheduler(**betas, beta_schedule="linear"), 4, start())
loop("lcm_v", LCMScheduler(**betas, beta_schedule="linear", prediction_type="v_prediction", original_inference_steps=25), 3, start())
loop("flow", FlowMatchEulerDiscreteScheduler(), 6, start())
loop("flow_shifted", FlowMatchEulerDiscreteScheduler(shift=3.0), 6, start())
loop("edm", EDMEulerScheduler(), 6, start(80.0))
loop("edm_exponential", EDMEulerScheduler(sigma_schedule="exponential", sigma_data=0.7, sigma_min=0.01, sigma_max=40.0), 5, start(40.0))
# Large predictions, so that the quantile is above 1, and below the most that is divided by in some rows only.
limits = dict(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=2.5)
loop("threshold_ddim", DDIMScheduler(**betas, **limits, clip_sample=False, timestep_spacing="trailing"), 5, start(), 1.5)
loop("threshold_ddpm", DDPMScheduler(**betas, **limits, clip_sample=True, timestep_spacing="trailing"), 5, start(), 1.5)
loop("threshold_dpmpp-2m", DPMSolverMultistepScheduler(**betas, **limits, timestep_spacing="trailing"), 6, start(), 1.5)
loop("threshold_unipc", UniPCMultistepScheduler(**betas, **limits, timestep_spacing="trailing"), 6, start(), 1.5)
loop("threshold_lcm", LCMScheduler(**betas, **limits, beta_schedule="linear"), 4, start(), 1.5)

t = torch.tensor([-1.5536, -0.25, -1e-3, 0.0, 0.125, 1.0955, 487.625, 999.9375], dtype=torch.float64)
out["embedding/t"] = t
for name, flip, shift in [("ddpm", False, 1), ("adm", True, 0)]:
    half = 16
    angle = t[:, None] * torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float64) / (half - shift))[None]
    parts = [torch.cos(angle), torch.sin(angle)] if flip else [torch.sin(angle), torch.cos(angle)]
    out[f"embedding/{name}"] = torch.cat(parts, 1)

save_file({name: value.contiguous() for name, value in out.items()}, os.path.join(HERE, "diffusion_processes.safetensors"))
for name in sorted(out):
    if name.endswith("/x"):
        print(name, [round(v, 6) for v in out[name].abs().amax(dim=(1, 2, 3, 4)).tolist()])
