#!/usr/bin/env python3
"""A network of the shape of guided-diffusion's 64x64_diffusion with random weights, 295,904,454 parameters: saved by torch.save, opened by wgen
as it is, converted to a folder, opened by diffusers. Prints what each of the three says of one image, time and memory.

  python -m venv venv && venv/bin/pip install -r tests/golden/requirements.txt
  venv/bin/python scripts/exchange_adm.py [--wgen target/release/wgen] [--folder DIR]

Some 5 GB of disk and of memory are needed.
"""
import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time

import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pytorch_adm import UNet  # noqa: E402

CLASS = 207


def network():
    with torch.device("meta"):
        net = UNet((3, 64, 64), 6, 1000, model_channels=192, channel_mult=(1, 2, 3, 4), num_res_blocks=3, attention_resolutions=(2, 4, 8),
                   num_head_channels=64, use_new_attention_order=True)
    net = net.to_empty(device="cpu").eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.dim() == 1:
                p.normal_(1.0 if name.endswith("weight") else 0.0, 0.1)
            else:
                p.normal_(0.0, 0.7 / math.sqrt(p[0].numel()))
    return net


def run(*command):
    began = time.time()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, time.time() - began, children.ru_maxrss / 2**20


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--wgen", default="target/release/wgen")
    parser.add_argument("--folder")
    arguments = parser.parse_args()
    keep = arguments.folder
    folder = keep or tempfile.mkdtemp()
    os.makedirs(folder, exist_ok=True)
    file, noise, drawn = (os.path.join(folder, n) for n in ("64x64_diffusion.pt", "noise.safetensors", "drawn.safetensors"))
    converted = os.path.join(folder, "converted")
    net = network()
    count = sum(p.numel() for p in net.parameters())
    assert count == 295_904_454, count
    torch.save(net.state_dict(), file)
    x = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(1)) - 0.5
    save_file({"noise": x}, noise)

    # One step, at t = 0: x_0 = (x - s eps) / a.
    sample = ["sample", "--n", "1", "--class", str(CLASS), "--sampler", "ddim", "--steps", "1", "--spacing", "leading", "--init-noise", noise,
              "--save-tensor", drawn, "--out", os.path.join(folder, "drawn.png")]
    for cold in ("cold", "warm"):
        _, seconds, memory = run(arguments.wgen, "-q", *sample[:1], file, *sample[1:])
        print(f"wgen, {file}, {cold}: {count} parameters, one step of one image in {seconds:.1f} s, at most {memory:.2f} GiB")
    abar = math.cos((1 / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    # The folder's process is that of diffusers, whose tables are in f32: at t = 0 that is a thousandth of s.
    beta = torch.tensor(1 - abar, dtype=torch.float64)
    of_f32 = (1 - beta.float().double()).float().item()

    def eps_of(abar):
        a, s = math.sqrt(abar), math.sqrt(1 - abar)
        return (x.double() - a * load_file(drawn)["x"].double()) / s

    ours = eps_of(abar)
    _, seconds, memory = run(arguments.wgen, "-q", "convert", file, "--out", converted)
    print(f"wgen convert: {seconds:.1f} s, at most {memory:.2f} GiB (of all runs so far)")
    run(arguments.wgen, "-q", *sample[:1], converted, *sample[1:])
    of_folder = eps_of(of_f32)
    t, y = torch.tensor([0]), torch.tensor([CLASS])
    with torch.no_grad():
        reference = net(x, t, y)[:, :3].double()
        del net
        from diffusers import UNet2DModel
        theirs = UNet2DModel.from_pretrained(converted, subfolder="unet").eval()
        theirs = theirs(x, t, class_labels=y).sample[:, :3].double()
    extent = (reference.max() - reference.min()).item()
    figures = {"range": extent}
    for name, eps in [("wgen, file", ours), ("wgen, folder", of_folder), ("diffusers, folder", theirs)]:
        figures[name] = (eps - reference).abs().max().item() / extent
        print(f"{name}: {figures[name]:.1e} of the range {extent:.2f} from PyTorch's network")
    print(json.dumps(figures))
    assert max(v for k, v in figures.items() if k != "range") < 1e-4


if __name__ == "__main__":
    main()
