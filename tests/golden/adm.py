#!/usr/bin/env python3
"""Writes tests/golden/adm.safetensors and .json: what PyTorch computes in f64, never our own code. See generate.py; run in the same way.

A case NAME has the prediction `NAME/y`, the gradients of the sum of prediction times `NAME/upstream` by the inputs `NAME/x` and `NAME/low_res`
and by every parameter `NAME/grad/PARAMETER`: in f32, of the largest tensors every STRIDE-th element, see `thinned`. Weights and inputs are not
stored: both sides draw them by `drawn`.

Before that the PyTorch network has to give what guided-diffusion's own code (22e0df8) gives for five networks: it is the witness of the layout.
"""
import json
import os
import sys

import torch
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "scripts"))
from noised_classifier import drawn, weight  # noqa: E402
from pytorch_adm import UNet  # noqa: E402

BATCH, CLASSES, MOST = 2, 4, 96

SMALL = dict(image=(3, 8, 8), out_channels=6, num_classes=CLASSES, low_res=None, model_channels=4, channel_mult=(1, 2), num_res_blocks=1,
             attention_resolutions=(2,), num_head_channels=4, num_heads=1, use_scale_shift_norm=True, resblock_updown=True, conv_resample=True,
             use_new_attention_order=False, groups=2, dropout=0.0)
ADDED = dict(SMALL, use_scale_shift_norm=False, resblock_updown=False)
CASES = {
    "updown": SMALL,
    "new_order": dict(SMALL, use_new_attention_order=True, num_res_blocks=2, attention_resolutions=(1, 2)),
    "heads": dict(SMALL, num_head_channels=None, num_heads=2, num_classes=None, out_channels=3),
    "wide_time": dict(SMALL, channel_mult=(0.5, 1, 2), image=(1, 8, 12), groups=1, num_head_channels=2, attention_resolutions=(4,),
                      out_channels=1, num_classes=None),
    "conv": ADDED,
    "pooled": dict(ADDED, conv_resample=False),
    "super_res": dict(SMALL, low_res=(4, 2)),
    "super_res_pooled": dict(ADDED, conv_resample=False, low_res=(2, 8), num_classes=None, image=(1, 8, 8), out_channels=1),
}

# Parameters; tensors; sum, sum of absolute values and first of the prediction.
SIXTEEN = dict(image=(3, 16, 16), out_channels=6, num_classes=CLASSES, channel_mult=(1, 2), attention_resolutions=(2,), num_head_channels=16)
PLAIN = dict(SIXTEEN, use_scale_shift_norm=False, resblock_updown=False)
PUBLISHED = [
    (SIXTEEN, 828_870, (232.611785, 2903.75497, 0.916678525)),
    (dict(SIXTEEN, use_new_attention_order=True), 828_870, (233.708721, 2916.35546, 0.918509579)),
    (PLAIN, 703_878, (-605.679793, 3242.26576, -1.08518432)),
    (dict(PLAIN, conv_resample=False), 657_702, (373.664396, 2669.91076, 0.638252873)),
    (dict(SIXTEEN, low_res=(8, 8)), 829_734, (117.415018, 3388.99222, 0.503202151)),
]


def thinned(x):
    """All of a small tensor, of a large one about MOST elements."""
    flat = x.detach().flatten()
    return flat[::max(1, flat.numel() // MOST)].float().contiguous()


def wave(shape):
    count = torch.Size(shape).numel()
    return torch.cos(0.3 * torch.arange(count, dtype=torch.float64)).reshape(shape)


def published():
    for config, count, wanted in PUBLISHED:
        net = UNet(**config).eval()
        assert sum(p.numel() for p in net.parameters()) == count, config
        with torch.no_grad():
            for k, (name, p) in enumerate(net.state_dict().items()):
                values = 0.1 * torch.sin(0.7 * torch.arange(p.numel(), dtype=torch.float64) + k)
                p.copy_((values + (p.dim() == 1 and name.endswith("weight"))).reshape(p.shape))
            small = wave((2, 3, 8, 8)) if "low_res" in config else None
            y = net(wave((2, 3, 16, 16)), torch.tensor([7, 901]), torch.tensor([1, 3]), small)
        for a, b in zip(wanted, (y.sum(), y.abs().sum(), y.flatten()[0])):
            assert abs(a - b.item()) < 1e-6 * abs(a), (config, a, b)


def main():
    published()
    out, about = {}, {}
    for name, config in CASES.items():
        net = UNet(**config).eval()
        about[name] = config
        with torch.no_grad():
            for key, parameter in net.named_parameters():
                parameter.copy_(weight(f"{name}/{key}", tuple(parameter.shape)))
        image = config["image"]
        x = drawn(f"{name}/x", (BATCH, *image), 1.5).requires_grad_()
        small = None
        if config["low_res"]:
            small = drawn(f"{name}/low_res", (BATCH, image[0], *config["low_res"]), 1.0).requires_grad_()
        y = torch.tensor([1, 3]) if config["num_classes"] else None
        prediction = net(x, torch.tensor([7, 901]), y, small)
        (prediction * drawn(f"{name}/upstream", tuple(prediction.shape))).sum().backward()
        out[f"{name}/y"] = prediction.detach().float().contiguous()
        out[f"{name}/x"] = x.grad.float().contiguous()
        if small is not None:
            out[f"{name}/low_res"] = small.grad.float().contiguous()
        for key, parameter in net.named_parameters():
            out[f"{name}/grad/{key}"] = thinned(parameter.grad)
    save_file(out, os.path.join(HERE, "adm.safetensors"))
    with open(os.path.join(HERE, "adm.json"), "w") as f:
        json.dump(about, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
