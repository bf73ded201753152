#!/usr/bin/env python3
"""Golden gradients of whole models in f64: one step of each, small. See generate.py; run in the same way.

A case has `data` [rows, width] as it lies on the device (channels last), `labels` where there are classes, `loss`, and for each parameter
`w/NAME` and `g/NAME` as files have them. Noise is drawn from the same Philox streams that wgen uses.
"""
import math
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "..", "scripts"))
import pytorch_models as models  # noqa: E402
from generate import normals, uniform  # noqa: E402

SEED, STEP, BATCH, CLASSES = 0x0123456789ABCDEF, 41, 6, 5
torch.manual_seed(20261124)
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


def noise(name, *shape):
    return torch.from_numpy(normals(math.prod(shape), SEED, STEP, "training/" + name).reshape(shape))


def coin(name, p, *shape):
    drawn = uniform(math.prod(shape), SEED, STEP, "training/" + name).reshape(shape)
    return torch.from_numpy((drawn < np.float32(p)).astype(np.float64))


def images(channels, side):
    # Values that f32 holds exactly.
    return torch.randint(0, 256, (BATCH, channels, side, side)).double() / 256


def finish(out, name, model, loss, data, labels=None, only=None):
    loss.backward()
    flat = data.permute(0, 2, 3, 1) if data.dim() == 4 else data
    out[f"{name}/data"] = flat.reshape(BATCH, -1).contiguous()
    if labels is not None:
        out[f"{name}/labels"] = labels.clone()
    out[f"{name}/loss"] = loss.detach().reshape(1)
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            out[f"{name}/w/{key}"] = value.detach().clone()
    for key, p in model.named_parameters():
        if only is None or key.startswith(only):
            out[f"{name}/g/{key}"] = p.grad


def prepared(model):
    """Weights that f32 holds exactly, none zero."""
    with torch.no_grad():
        for p in model.parameters():
            p.copy_((p * 1.5 + 0.05 * torch.randn_like(p)).float().double())
    return model


def main():
    out = {}
    labels = F.one_hot(torch.tensor([0, 4, 2, 2, 1, 3]), CLASSES).double()

    x = images(1, 8)
    model = prepared(models.Autoencoder((64, 20, 11, 4)))
    flat = x.reshape(BATCH, -1)
    finish(out, "ae", model, (model(flat) - flat).square().sum() / 64, x)

    x = images(3, 8)
    model = prepared(models.ConvAutoencoder((3, 8, 8), (4, 6), 5))
    finish(out, "conv_ae", model, (model(x) - x).square().sum() / 192, x)

    x = images(1, 8)
    model = prepared(models.ConvVae((1, 8, 8), (4, 6), 3, CLASSES))
    mu, logvar = model.encode(x, labels)
    z = mu + torch.exp(0.5 * logvar) * noise("z", BATCH, 3)
    bce = F.binary_cross_entropy_with_logits(model.decode(z, labels), x, reduction="sum")
    kl = -0.5 * torch.sum(1 + logvar - mu.square() - logvar.exp())
    finish(out, "conv_vae", model, bce + kl, x, labels)

    for name, k in [("sparse_top_k", 7), ("sparse_l1", 0), ("sparse_kl", 0)]:
        x = images(1, 8)
        flat = x.reshape(BATCH, -1)
        model = prepared(models.Sparse(64, 24, name == "sparse_kl"))
        pre = model.encoder(flat)
        if name == "sparse_top_k":
            kept = torch.zeros_like(pre).scatter(1, torch.topk(pre, k, 1).indices, 1.0)
            code, penalty = pre * kept, 0.0
        elif name == "sparse_l1":
            code = torch.relu(pre)
            penalty = 0.1 * code.sum()
        else:
            code, rho = torch.sigmoid(pre), 0.1
            mean = code.mean(0)
            kl = rho * torch.log(rho / mean) + (1 - rho) * torch.log((1 - rho) / (1 - mean))
            penalty = 0.5 * BATCH * kl.sum()
        finish(out, name, model, (model.decode(code) - flat).square().sum() + penalty, x)

    for name, widths in [("contractive", (64, 9)), ("contractive_deep", (64, 12, 7))]:
        x = images(1, 8)
        flat = x.reshape(BATCH, -1)
        model = prepared(models.Contractive(widths))
        error = (model.decode(model.encode(flat)) - flat).square().sum()
        finish(out, name, model, error + 0.1 * model.squared_norms(flat).sum(), x)

    x = images(1, 12)
    model = prepared(models.Classifier((1, 12, 12), (4, 6), 10, CLASSES))
    # Masks are drawn on the device's layout.
    masks = (coin("dropout1", 0.75, BATCH, 4, 4, 6).permute(0, 3, 1, 2) / np.float64(np.float32(0.75)),
             coin("dropout2", 0.5, BATCH, 10) / 0.5)
    _, logits = model(x, masks)
    finish(out, "classifier", model, F.cross_entropy(logits, labels.argmax(1), reduction="sum"), x, labels)

    for phase in ("discriminator", "generator"):
        x = images(1, 16)
        model = prepared(models.Dcgan(16, 5, 4, 1))
        fake = model.generator(noise("z", BATCH, 5))
        if phase == "discriminator":
            real = model.discriminator(x * 2 - 1)
            logits = model.discriminator(fake)
            loss = F.binary_cross_entropy_with_logits(real, torch.ones(BATCH)) + F.binary_cross_entropy_with_logits(logits, torch.zeros(BATCH))
        else:
            loss = F.binary_cross_entropy_with_logits(model.discriminator(fake), torch.ones(BATCH))
        finish(out, f"dcgan_{phase}", model, loss, x, only=phase)
    save_file(out, os.path.join(HERE, "models.safetensors"))


if __name__ == "__main__":
    main()
