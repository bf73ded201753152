#!/usr/bin/env python3
"""Writes tests/golden/diffusion.safetensors and diffusion.json: what diffusers and PyTorch compute, never our own code.

    python3 -m venv .venv && .venv/bin/pip install -r tests/golden/requirements.txt
    .venv/bin/python tests/golden/diffusion.py

Networks: `unet/NAME/y` and `unet/NAME/grad/TENSOR`, of the configuration NAME in diffusion.json. Their weights and inputs are not stored: both
sides draw them by `drawn`, a hash of the tensor's name and the element's place.
Steps: the oracle of diffusers' own scheduler tests, its noise as torch's generator gives it.
"""
import json
import math
import os

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from diffusers.models.embeddings import get_timestep_embedding
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.set_num_threads(1)
out, about = {}, {}


def drawn(name, shape, scale=1.0, shift=0.0):
    """Numbers on [shift - scale, shift + scale), by FNV-1a of the name and a mix of the element's place."""
    key = 0x811C9DC5
    for byte in name.encode():
        key = ((key ^ byte) * 0x01000193) & 0xFFFFFFFF
    i = np.arange(int(np.prod(shape)), dtype=np.uint64)
    x = (i * np.uint64(2654435761) + np.uint64(key)) & np.uint64(0xFFFFFFFF)
    for _ in range(2):
        x ^= x >> np.uint64(16)
        x = (x * np.uint64(0x45D9F3B)) & np.uint64(0xFFFFFFFF)
    x ^= x >> np.uint64(16)
    unit = (x.astype(np.float64) / 2**31 - 1.0).astype(np.float32)
    return torch.from_numpy((unit.astype(np.float64) * scale + shift).reshape(shape))


def weight(name, shape):
    """As the tests draw it: gains about 1, matrices by their inputs."""
    if len(shape) == 1:
        return drawn(name, shape, 0.3, 1.0 if "norm" in name and name.endswith("weight") else 0.0)
    return drawn(name, shape, math.sqrt(3.0 / np.prod(shape[1:])))


BATCH = 2
SMALL = dict(sample_size=8, in_channels=3, out_channels=3, block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2,
             down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=4)
UNETS = {
    "plain": dict(SMALL),
    "ddpm_embedding": dict(SMALL, flip_sin_to_cos=False, freq_shift=1, downsample_padding=0, norm_eps=1e-6, attention_head_dim=None),
    "scale_shift": dict(SMALL, resnet_time_scale_shift="scale_shift", attention_head_dim=2),
    "scale_shift_norm": dict(SMALL, resnet_time_scale_shift="scale_shift", attn_norm_num_groups=4),
    "resnet_samplers": dict(SMALL, down_block_types=("AttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "AttnUpBlock2D"),
                            downsample_type="resnet", upsample_type="resnet"),
    "resnet_blocks": dict(SMALL, down_block_types=("ResnetDownsampleBlock2D", "DownBlock2D"),
                          up_block_types=("UpBlock2D", "ResnetUpsampleBlock2D")),
    "classes": dict(SMALL, in_channels=1, out_channels=1, num_class_embeds=6, sample_size=(8, 4), layers_per_block=2),
    "learned_variance": dict(SMALL, out_channels=6, add_attention=False, center_input_sample=True, block_out_channels=(6, 12),
                             norm_num_groups=3),
    "three_levels": dict(SMALL, in_channels=1, out_channels=1, block_out_channels=(4, 4, 8), sample_size=12,
                         down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
                         up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), time_embedding_dim=10),
    "no_middle": dict(SMALL, mid_block_type=None),
}


def networks():
    for name, config in UNETS.items():
        net = UNet2DModel(**config).double().eval()
        about[name] = json.loads(net.to_json_string())
        with torch.no_grad():
            for key, parameter in net.named_parameters():
                parameter.copy_(weight(f"{name}/{key}", tuple(parameter.shape)))
        size = config["sample_size"]
        height, width = (size, size) if isinstance(size, int) else size
        x = drawn(f"{name}/x", (BATCH, config["in_channels"], height, width), 1.5)
        t = torch.tensor([7, 901])
        labels = torch.tensor([2, 5]) if "num_class_embeds" in config else None
        y = net(x, t, class_labels=labels).sample
        upstream = drawn(f"{name}/upstream", tuple(y.shape))
        (y * upstream).sum().backward()
        out[f"unet/{name}/y"] = y.detach().contiguous()
        for key, parameter in net.named_parameters():
            out[f"unet/{name}/grad/{key}"] = parameter.grad.float().double().contiguous()


def oracle_sample():
    sample = torch.arange(768).reshape(3, 8, 8, 4) / 768
    return sample.permute(3, 0, 1, 2)


def oracle_model(sample, t):
    return sample * (t / (t + 1)) if not torch.is_tensor(t) else sample * (t.item() / (t.item() + 1))


def steps():
    out["step/sample"] = oracle_sample().double().contiguous()
    base = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    # DDIM: the last x of each, and its x on the way.
    cases = {
        "ddim": (DDIMScheduler(**base, clip_sample=True), 10, 0.0),
        "ddim_v": (DDIMScheduler(**base, clip_sample=True, prediction_type="v_prediction"), 10, 0.0),
        "ddim_one": (DDIMScheduler(**{**base, "beta_start": 0.01}, clip_sample=True, set_alpha_to_one=True), 10, 0.0),
        "ddim_not_one": (DDIMScheduler(**{**base, "beta_start": 0.01}, clip_sample=True, set_alpha_to_one=False), 10, 0.0),
        "ddim_trailing": (DDIMScheduler(**base, clip_sample=True, timestep_spacing="trailing"), 7, 0.0),
        "ddim_linspace": (DDIMScheduler(**base, clip_sample=False, timestep_spacing="linspace", prediction_type="sample"), 9, 0.0),
        "ddim_zero_snr": (DDIMScheduler(**base, clip_sample=True, rescale_betas_zero_snr=True, timestep_spacing="trailing",
                                        prediction_type="v_prediction"), 10, 0.0),
        "ddim_eta": (DDIMScheduler(**base, clip_sample=True), 10, 1.0),
        "ddim_clipped": (DDIMScheduler(**base, clip_sample=True), 10, 0.0),
        "ddim_clipped_v": (DDIMScheduler(**base, clip_sample=True, prediction_type="v_prediction"), 6, 0.5),
    }
    for name, (scheduler, count, eta) in cases.items():
        scheduler.set_timesteps(count)
        generator = torch.manual_seed(0)
        sample, noises, xs = oracle_sample(), [], []
        for t in scheduler.timesteps:
            noise = torch.randn(sample.shape, generator=generator)
            noises.append(noise)
            sample = scheduler.step(oracle_model(sample, t), t, sample, eta, use_clipped_model_output=name.startswith("ddim_clipped"),
                                    variance_noise=noise).prev_sample
            xs.append(sample)
        out[f"step/{name}/timesteps"] = scheduler.timesteps.to(torch.int32)
        out[f"step/{name}/x"] = torch.stack(xs).double().contiguous()
        if eta > 0:
            out[f"step/{name}/noise"] = torch.stack(noises).double().contiguous()
    # A thousand ancestral steps, the noise as torch's CPU generator with seed 0 gives it.
    generator = torch.manual_seed(0)
    noise = torch.stack([torch.randn(4, 3, 8, 8, generator=generator) for _ in range(999)])
    for name, prediction in [("ddpm", "epsilon"), ("ddpm_v", "v_prediction")]:
        scheduler = DDPMScheduler(**base, clip_sample=True, variance_type="fixed_small", prediction_type=prediction)
        generator = torch.manual_seed(0)
        sample = oracle_sample()
        for t in reversed(range(1000)):
            sample = scheduler.step(oracle_model(sample, t), t, sample, generator=generator).prev_sample
        out[f"step/{name}/x"] = sample.double().contiguous()
    # In units of 2^-12: half the bytes, and the error is far below the rows' tolerance.
    out["step/ddpm/noise"] = (noise * 4096).round().to(torch.int16)


def schedules():
    for name in ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"]:
        for count in [10, 1000]:
            scheduler = DDPMScheduler(num_train_timesteps=count, beta_start=1e-4, beta_end=0.02, beta_schedule=name)
            key = f"schedule/{name}/{count}"
            stride = max(1, count // 50)
            out[f"{key}/betas"] = scheduler.betas.double()[::stride].contiguous()
            out[f"{key}/alphas_cumprod"] = scheduler.alphas_cumprod.double()[::stride].contiguous()
    zero = DDPMScheduler(num_train_timesteps=1000, rescale_betas_zero_snr=True)
    out["schedule/zero_snr/1000/betas"] = zero.betas.double()[::20].contiguous()
    scheduler = DDPMScheduler(num_train_timesteps=1000, variance_type="fixed_small")
    out["variance/ddpm"] = torch.tensor([scheduler._get_variance(t).item() for t in [0, 487, 999]], dtype=torch.float64)
    ddim = DDIMScheduler(num_train_timesteps=1000)
    pairs = [(0, 0), (420, 400), (980, 960), (487, 486), (999, 998)]
    out["variance/ddim"] = torch.tensor([ddim._get_variance(a, b).item() for a, b in pairs], dtype=torch.float64)


def embeddings():
    t = torch.tensor([0, 1, 17, 500, 999])
    for name, flip, shift in [("ddpm", False, 1), ("adm", True, 0)]:
        for dim in [8, 33]:
            # In f64: diffusers' own is in f32, whose product of t and frequency errs by 6e-5 at t = 999.
            half = dim // 2
            exponent = -math.log(10000) * torch.arange(half, dtype=torch.float64) / (half - shift)
            angle = t[:, None].double() * torch.exp(exponent)[None]
            parts = [torch.cos(angle), torch.sin(angle)] if flip else [torch.sin(angle), torch.cos(angle)]
            wide = torch.cat(parts, 1)
            wide = torch.nn.functional.pad(wide, (0, dim - wide.shape[1]))
            theirs = get_timestep_embedding(t, dim, flip_sin_to_cos=flip, downscale_freq_shift=shift)
            assert (theirs.double() - wide).abs().max() < 2e-4
            out[f"embedding/{name}/{dim}"] = wide.contiguous()


def guided_diffusion():
    """The posterior and the learned range as guided-diffusion's gaussian_diffusion.py states them, written out from its formulas in f64."""
    betas = np.linspace(1e-4, 0.02, 1000, dtype=np.float64)
    alphas = 1.0 - betas
    cumprod = np.cumprod(alphas)
    before = np.append(1.0, cumprod[:-1])
    variance = betas * (1.0 - before) / (1.0 - cumprod)
    clipped = np.log(np.append(variance[1], variance[1:]))
    at = [0, 1, 2, 250, 998, 999]
    columns = [betas * np.sqrt(before) / (1.0 - cumprod), (1.0 - before) * np.sqrt(alphas) / (1.0 - cumprod), variance, clipped, np.log(betas)]
    out["guided/posterior"] = torch.tensor(np.stack([c[at] for c in columns], 1))
    v = np.linspace(-1, 1, 5)
    share = (v + 1) / 2
    out["guided/learned_range"] = torch.tensor(np.stack([share * np.log(betas)[t] + (1 - share) * clipped[t] for t in at]))


networks()
steps()
schedules()
embeddings()
guided_diffusion()
# Gradients need no more digits than f32 has.
save_file({k: (v.float() if k.startswith("unet/") and "/grad/" in k else v) for k, v in out.items()},
          os.path.join(HERE, "diffusion.safetensors"))
with open(os.path.join(HERE, "diffusion.json"), "w") as f:
    json.dump(about, f, indent=1)
for name in ["ddim", "ddim_v", "ddim_one", "ddim_not_one", "ddim_eta", "ddpm", "ddpm_v"]:
    x = out[f"step/{name}/x"]
    print(name, (x if x.dim() == 4 else x[-1]).abs().sum().item())
