#!/usr/bin/env python3
"""Exchanges folders with diffusers, both ways: 50 DDIM steps at eta 0 from the same noise, coefficients in f32.

    scripts/exchange_diffusers.py [--wgen target/release/wgen] [--ours RUN_FOLDER]

Needs torch, diffusers and safetensors (tests/golden/requirements.txt). Ours is trained for a few steps where no folder is given. Asked: the largest
difference of the float images 5e-3, the mean 1e-4, of 8-bit images 1.
"""
import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile

import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file

COUNT = 4


def ddim(unet, scheduler, noise, labels=None, guidance=1.0):
    scheduler = DDIMScheduler.from_config(scheduler.config)
    scheduler.set_timesteps(50)
    x = noise
    with torch.no_grad():
        for t in scheduler.timesteps:
            prediction = unet(x, t, class_labels=labels).sample
            if guidance != 1.0:
                # The null class is the last one.
                null = unet(x, t, class_labels=torch.full_like(labels, unet.config.num_class_embeds - 1)).sample
                prediction = null + guidance * (prediction - null)
            x = scheduler.step(prediction, t, x, eta=0.0, use_clipped_model_output=guidance != 1.0).prev_sample
    return x


def compare(name, wgen, folder, unet, scheduler, labels=None, guidance=1.0, more=()):
    size = unet.config.sample_size
    noise = torch.randn(COUNT, unet.config.in_channels, size, size, generator=torch.Generator().manual_seed(3))
    expected = ddim(unet.eval(), scheduler, noise, labels, guidance)
    with tempfile.TemporaryDirectory() as work:
        save_file({"noise": noise}, f"{work}/noise.safetensors")
        subprocess.run([wgen, "-q", "sample", folder, "--sampler", "ddim", "--steps", "50", "--eta", "0", "--n", str(COUNT), "--init-noise",
                        f"{work}/noise.safetensors", "--out", f"{work}/grid.png", "--save-tensor", f"{work}/x.safetensors", *more], check=True)
        got = load_file(f"{work}/x.safetensors")["x"]
    difference = (got - expected).abs()
    byte = lambda x: ((x / 2 + 0.5).clamp(0, 1) * 255).round()
    found = {"case": name, "largest": difference.max().item(), "mean": difference.mean().item(),
             "bytes": (byte(got) - byte(expected)).abs().max().item()}
    ok = found["largest"] <= 5e-3 and found["mean"] <= 1e-4 and found["bytes"] <= 1
    print(json.dumps({**found, "passed": ok}), flush=True)
    return ok


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--wgen", default="target/release/wgen")
    parser.add_argument("--ours", nargs="*", default=[])
    arguments = parser.parse_args()
    passed = True
    with tempfile.TemporaryDirectory() as work:
        ours = list(arguments.ours)
        if not ours:
            for name, more in [("unconditional", []), ("conditional", ["--conditional"])]:
                ours.append(f"{work}/{name}")
                subprocess.run([arguments.wgen, "-q", "train", "diffusion", "--data", "digits:2000", "--channels", "16,32", "--batch", "16", "--steps",
                                "60", "--ema", "0.9", "--f32-tables", "--out", ours[-1], *more], check=True)
        for folder in ours:
            if os.path.exists(f"{folder}/model_index.json"):
                pipeline = DDPMPipeline.from_pretrained(folder)
                passed &= compare(f"ours in diffusers: {folder}", arguments.wgen, folder, pipeline.unet, pipeline.scheduler)
            else:
                unet = UNet2DModel.from_pretrained(f"{folder}/unet")
                scheduler = DDPMScheduler.from_pretrained(f"{folder}/scheduler")
                labels = torch.full((COUNT,), 3)
                passed &= compare(f"ours in diffusers, class 3: {folder}", arguments.wgen, folder, unet, scheduler, labels, more=["--class", "3"])
                # The mark of the null class goes through diffusers.
                unet.save_pretrained(f"{work}/again/unet")
                scheduler.save_pretrained(f"{work}/again/scheduler")
                passed &= compare(f"the same, guided by 2, saved again: {folder}", arguments.wgen, f"{work}/again", unet, scheduler, labels, 2.0,
                                  ["--class", "3", "--guidance", "2"])
                passed &= compare(f"the same, guided by 2: {folder}", arguments.wgen, folder, unet, scheduler, labels, 2.0,
                                  ["--class", "3", "--guidance", "2"])
        torch.manual_seed(5)
        unet = UNet2DModel(sample_size=16, in_channels=3, out_channels=3, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8,
                           down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"))
        optimizer = torch.optim.Adam(unet.parameters(), 1e-3)
        scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
        coordinates = torch.stack(torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij"))
        for _ in range(60):
            centre = torch.rand(8, 2, 1, 1) * 2 - 1
            disc = ((coordinates - centre).square().sum(1, keepdim=True) < 0.3).float() * 2 - 1
            x0, t = disc.repeat(1, 3, 1, 1), torch.randint(0, 1000, (8,))
            noise = torch.randn_like(x0)
            loss = (unet(scheduler.add_noise(x0, noise, t), t).sample - noise).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        DDPMPipeline(unet, scheduler).save_pretrained(f"{work}/theirs")
        passed &= compare("diffusers' in ours", arguments.wgen, f"{work}/theirs", unet, scheduler)
        DDPMPipeline(unet, scheduler).save_pretrained(f"{work}/shards", max_shard_size="200KB")
        passed &= compare("the same in shards", arguments.wgen, f"{work}/shards", unet, scheduler)
        for dtype, how in [(torch.float16, {"variant": "fp16"}), (torch.bfloat16, {})]:
            half = copy.deepcopy(unet).to(dtype)
            DDPMPipeline(half, scheduler).save_pretrained(f"{work}/{dtype}", **how)
            # Halves are stored, not computed with.
            passed &= compare(f"the same in {dtype}", arguments.wgen, f"{work}/{dtype}", half.float(), scheduler)
        torch.manual_seed(6)
        classes = UNet2DModel(**{**unet.config, "num_class_embeds": COUNT})
        DDPMPipeline(classes, scheduler).save_pretrained(f"{work}/classes")
        passed &= compare("every class in turn", arguments.wgen, f"{work}/classes", classes, scheduler, torch.arange(COUNT))
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
