#!/usr/bin/env python3
"""Trains the class-conditional U-Net of docs/results.md in PyTorch with diffusers, to try settings where that is faster, and saves a folder that
wgen samples and judges: wgen eval FOLDER --data idx:... --judge CLASSIFIER.

    scripts/diffusion_settings.py --data ../shared/data/mnist --out FOLDER [--judge runs/mnist-classifier] [--steps N] [--lr X] ...

With --judge it also says how confident that classifier is of samples by class, of the null class, and guided (DDIM, 50 steps).

Needs torch and diffusers (tests/golden/requirements.txt).
"""
import argparse
import copy
import gzip
import math
import os
import time

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel


def idx(folder, name):
    path = os.path.join(folder, name)
    data = gzip.open(path + ".gz").read() if os.path.exists(path + ".gz") else open(path, "rb").read()
    dims = data[3]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dims)


def judge(unet, scheduler, arguments):
    from pytorch_models import Classifier
    from safetensors.torch import load_file
    classifier = Classifier()
    classifier.load_state_dict(load_file(f"{arguments.judge}/model.safetensors"))
    classifier.eval()
    ddim = DDIMScheduler.from_config(scheduler.config)
    ddim.set_timesteps(50)
    count = arguments.samples
    classes = torch.arange(count) % 10
    with torch.no_grad():
        for name, labels, guidance in [("by class", classes, 1.0), ("null class", torch.full((count,), 10), 1.0), ("guided by 2", classes, 2.0)]:
            x = torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(0))
            for t in ddim.timesteps:
                p = unet(x, t, class_labels=labels).sample
                if guidance != 1.0:
                    null = unet(x, t, class_labels=torch.full((count,), 10)).sample
                    p = null + guidance * (p - null)
                x = ddim.step(p, t, x).prev_sample
            found = classifier((x / 2 + 0.5).clamp(0, 1))[1].softmax(1)
            shares = found.argmax(1).bincount(minlength=10) / count
            print(f"  {name}: {(found.max(1).values > 0.9).float().mean():.3f} confident, {(found.argmax(1) == classes).float().mean():.3f} of the "
                  f"class, shares {shares.min():.3f} to {shares.max():.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--ema", type=float, default=0.999)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 32, 64])
    parser.add_argument("--prediction", default="epsilon")
    parser.add_argument("--schedule", default="linear")
    parser.add_argument("--min-snr", type=float, default=0.0)
    parser.add_argument("--attention", type=int, nargs="*", default=[])
    parser.add_argument("--scale-shift", action="store_true")
    parser.add_argument("--judge")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--class-deviation", type=float, default=1.0, help="of the class embedding's first values")
    parser.add_argument("--zero", action="store_true", help="branches begin as zero, as wgen's do")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    images = torch.from_numpy(idx(arguments.data, "train-images-idx3-ubyte").copy()).view(-1, 1, 28, 28)
    labels = torch.from_numpy(idx(arguments.data, "train-labels-idx1-ubyte").copy()).long()
    levels = len(arguments.channels)
    unet = UNet2DModel(sample_size=28, in_channels=1, out_channels=1, block_out_channels=arguments.channels, layers_per_block=1,
                       down_block_types=[("Attn" if 28 >> i in arguments.attention else "") + "DownBlock2D" for i in range(levels)],
                       up_block_types=[("Attn" if 28 >> i in arguments.attention else "") + "UpBlock2D" for i in reversed(range(levels))],
                       norm_num_groups=8, attention_head_dim=32, num_class_embeds=11,
                       resnet_time_scale_shift="scale_shift" if arguments.scale_shift else "default")
    torch.nn.init.normal_(unet.class_embedding.weight, std=arguments.class_deviation)
    if arguments.zero:
        for name, parameter in unet.named_parameters():
            if ".conv2." in name or ".to_out." in name or name.startswith("conv_out."):
                torch.nn.init.zeros_(parameter)
    average = copy.deepcopy(unet)
    scheduler = DDPMScheduler(beta_schedule=arguments.schedule, prediction_type=arguments.prediction)
    snr = scheduler.alphas_cumprod / (1 - scheduler.alphas_cumprod)
    weights = torch.ones(1000)
    if arguments.min_snr:
        weights = snr.clamp(max=arguments.min_snr) / (snr if arguments.prediction == "epsilon" else snr + 1)
    optimizer = torch.optim.Adam(unet.parameters(), arguments.lr)
    begin, total = time.time(), 0.0
    for step in range(arguments.steps):
        rate = arguments.lr * min(1, (step + 1) / arguments.warmup) * 0.5 * (1 + math.cos(math.pi * step / arguments.steps))
        optimizer.param_groups[0]["lr"] = rate
        index = torch.randint(0, len(images), (arguments.batch,))
        x0 = images[index].float() / 127.5 - 1
        y = torch.where(torch.rand(arguments.batch) < 0.1, torch.tensor(10), labels[index])
        t, noise = torch.randint(0, 1000, (arguments.batch,)), torch.randn_like(x0)
        target = noise if arguments.prediction == "epsilon" else scheduler.get_velocity(x0, noise, t)
        errors = (unet(scheduler.add_noise(x0, noise, t), t, class_labels=y).sample - target).square().mean((1, 2, 3))
        loss = (errors * weights[t]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        decay = min(arguments.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for a, b in zip(average.parameters(), unet.parameters()):
                a.lerp_(b, 1 - decay)
        total += loss.item()
        if (step + 1) % 250 == 0:
            print(f"step {step + 1}: loss {total / 250:.4f}, {(time.time() - begin) / (step + 1):.3f} s a step", flush=True)
            total = 0.0
        if (step + 1) % 2500 == 0 or step + 1 == arguments.steps:
            average.save_pretrained(f"{arguments.out}/unet")
            scheduler.save_pretrained(f"{arguments.out}/scheduler")
            if arguments.judge:
                judge(average.eval(), scheduler, arguments)


if __name__ == "__main__":
    main()
