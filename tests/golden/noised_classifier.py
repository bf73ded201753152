#!/usr/bin/env python3
"""Writes tests/golden/noised_classifier.safetensors and .json: what PyTorch computes in f64, never our own code. See generate.py; run in the
same way.

A case NAME has logits `NAME/y`, their gradients by the input `NAME/x` (of the sum of log p(y | x_t, t), as guidance has it) and by every
parameter `NAME/grad/PARAMETER` (of the same sum): in f32, of the largest tensors every STRIDE-th element, see `thinned`. Weights and inputs are
not stored: both sides draw them by `drawn`, a hash of the tensor's name and the element's place.

Before that the PyTorch network has to give what guided-diffusion's own code (22e0df8) gives for four networks: it is the witness of the
layout.
"""
import json
import math
import os
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "scripts"))
from pytorch_noised_classifier import EncoderUNet  # noqa: E402

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
BATCH, CLASSES, MOST = 2, 5, 1024


def drawn(name, shape, scale=1.0, shift=0.0):
    """As diffusion.py draws."""
    key = 0x811C9DC5
    for byte in name.encode():
        key = ((key ^ byte) * 0x01000193) & 0xFFFFFFFF
    mask = 0xFFFFFFFF
    x = (torch.arange(math.prod(shape), dtype=torch.int64) * 2654435761 + key) & mask
    for _ in range(2):
        x ^= x >> 16
        x = (x * 0x45D9F3B) & mask
    x ^= x >> 16
    unit = (x.double() / 2**31 - 1.0).float().double()
    return (unit * scale + shift).reshape(shape).float().double()


def weight(name, shape):
    if len(shape) == 1:
        return drawn(name, shape, 0.3, 1.0 if name.endswith("weight") else 0.0)
    return drawn(name, shape, math.sqrt(3.0 / math.prod(shape[1:])))


def thinned(x):
    """All of a small tensor, of a large one about MOST elements."""
    flat = x.detach().flatten()
    return flat[::max(1, flat.numel() // MOST)].float().contiguous()


SMALL = dict(image=(3, 8, 8), model_channels=4, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(2,), num_head_channels=4,
             num_heads=1, use_scale_shift_norm=True, resblock_updown=True, conv_resample=True, use_new_attention_order=False, groups=2,
             dropout=0.0, pool="attention")
ADDED = dict(SMALL, use_scale_shift_norm=False, resblock_updown=False)
CASES = {
    "attention": SMALL,
    "attention_added": dict(ADDED, channel_mult=(0.5, 1, 2), image=(1, 8, 12), use_new_attention_order=True, num_head_channels=2, groups=1,
                            attention_resolutions=(1, 4)),
    "adaptive": dict(SMALL, pool="adaptive", num_head_channels=None, num_heads=2, num_res_blocks=2),
    "adaptive_added": dict(ADDED, pool="adaptive", conv_resample=False),
    "spatial": dict(SMALL, pool="spatial", attention_resolutions=(), use_new_attention_order=True),
    "spatial_added": dict(ADDED, pool="spatial"),
    "spatial_v2": dict(SMALL, pool="spatial_v2"),
    "spatial_v2_added": dict(ADDED, pool="spatial_v2", conv_resample=False),
}

# Parameters; sum, sum of absolute values and first of the logits; the same of the gradient, as far as they are known.
PUBLISHED = {
    "attention": (381_509, (1.63044439, 2.47533669, 0.205295924), (-0.0201681407, 2.13366189, 0.000190475116)),
    "adaptive": (364_869, (-1.59231357, None, None), (None, 2.00708444, None)),
    "spatial": (835_461, (-11.7774518, None, None), (None, 55.9766367, None)),
    "spatial_v2": (839_557, (-9.31583591, None, None), (None, 170.88522, None)),
}


def log_p(net, x, t, y):
    logits = net(x, t)
    return logits, F.log_softmax(logits, 1).gather(1, y[:, None]).sum()


def published():
    for pool, (count, of_logits, of_gradient) in PUBLISHED.items():
        net = EncoderUNet((3, 16, 16), CLASSES, channel_mult=(1, 2), attention_resolutions=(2,), num_head_channels=16, pool=pool).eval()
        assert sum(p.numel() for p in net.parameters()) == count, pool
        with torch.no_grad():
            for k, (name, p) in enumerate(net.state_dict().items()):
                wave = 0.1 * torch.sin(0.7 * torch.arange(p.numel(), dtype=torch.float64) + k)
                p.copy_((wave + (p.dim() == 1 and name.endswith("weight"))).reshape(p.shape))
        x = torch.cos(0.3 * torch.arange(2 * 3 * 256, dtype=torch.float64)).reshape(2, 3, 16, 16).requires_grad_()
        logits, total = log_p(net, x, torch.tensor([7, 901]), torch.tensor([1, 3]))
        total.backward()
        for wanted, found in [(of_logits, logits), (of_gradient, x.grad)]:
            figures = found.sum(), found.abs().sum(), found.flatten()[0]
            for a, b in zip(wanted, figures):
                assert a is None or abs(a - b.item()) < 1e-4 * max(abs(a), 1e-3), (pool, wanted, figures)


def main():
    published()
    out, about = {}, {}
    for name, config in CASES.items():
        net = EncoderUNet(classes=CLASSES, **config).eval()
        about[name] = config
        with torch.no_grad():
            for key, parameter in net.named_parameters():
                parameter.copy_(weight(f"{name}/{key}", tuple(parameter.shape)))
        x = drawn(f"{name}/x", (BATCH, *config["image"]), 1.5).requires_grad_()
        logits, total = log_p(net, x, torch.tensor([7, 901]), torch.tensor([1, 3]))
        total.backward()
        out[f"{name}/y"] = logits.detach().float().contiguous()
        out[f"{name}/x"] = x.grad.float().contiguous()
        for key, parameter in net.named_parameters():
            out[f"{name}/grad/{key}"] = thinned(parameter.grad)
    save_file(out, os.path.join(HERE, "noised_classifier.safetensors"))
    with open(os.path.join(HERE, "noised_classifier.json"), "w") as f:
        json.dump(about, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
