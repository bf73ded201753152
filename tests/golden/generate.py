#!/usr/bin/env python3
"""Writes the golden tensors of the tests: what PyTorch computes, never our own code.

    python3 -m venv .venv && .venv/bin/pip install -r tests/golden/requirements.txt
    .venv/bin/python tests/golden/generate.py

Everything but the training run is in f64. A case is stored as `NAME/x0`, `NAME/x1`, ... (inputs), `NAME/y` (value), `NAME/g`
(upstream gradient) and `NAME/d0`, ... (gradients by the inputs that have one). tests/golden.rs knows what each NAME computes.
"""
import math
import os

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(20261122)
torch.set_num_threads(1)


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64)


def positive(*shape):
    return torch.rand(shape, dtype=torch.float64) + 0.1


def operators():
    """Operators and their gradients."""
    out = {}

    def case(name, f, inputs, differentiable=None):
        inputs = [x.clone() for x in inputs]
        flags = differentiable or [x.is_floating_point() for x in inputs]
        for x, flag in zip(inputs, flags):
            x.requires_grad_(flag)
        y = f(*inputs)
        for i, x in enumerate(inputs):
            out[f"{name}/x{i}"] = x.detach().contiguous()
        out[f"{name}/y"] = y.detach().contiguous()
        if y.is_floating_point() and any(flags) and y.requires_grad:
            g = normal(*y.shape)
            out[f"{name}/g"] = g
            y.backward(g)
            for i, x in enumerate(inputs):
                if x.grad is not None:
                    out[f"{name}/d{i}"] = x.grad.contiguous()

    wide = normal(5, 7) * 3
    unary = {
        "relu": F.relu, "leaky_relu": lambda x: F.leaky_relu(x, 0.1), "elu": lambda x: F.elu(x, 1.3),
        "sigmoid": torch.sigmoid, "tanh": torch.tanh, "silu": F.silu, "gelu": F.gelu,
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "softplus": F.softplus, "exp": torch.exp,
        "exp_minus_one": torch.expm1, "square": torch.square, "abs": torch.abs, "erf": torch.erf, "neg": torch.neg,
        "clamp": lambda x: torch.clamp(x, -0.5, 0.7),
    }
    for name, f in unary.items():
        case(name, f, [wide])
    case("log", torch.log, [positive(5, 7)])
    case("sqrt", torch.sqrt, [positive(5, 7)])
    row, column = normal(7), normal(5, 1)
    case("add", torch.add, [wide, row])
    case("sub", torch.sub, [column, wide])
    case("mul", torch.mul, [wide, column])
    case("div", torch.div, [wide, positive(5, 1)])
    case("mul_outer", torch.mul, [normal(4, 1, 3), normal(5, 1)])
    case("max", torch.maximum, [wide, normal(5, 7)])
    case("min", torch.minimum, [wide, row])
    case("greater", lambda a, b: (a > b).double(), [wide, row], [False, False])
    case("equal", lambda a, b: (a == b).double(), [wide.round(), row.round()], [False, False])
    case("select", lambda a, b, c: torch.where(a > 0, b, c), [wide, normal(5, 7), row], [False, True, True])

    target = torch.rand(5, 7, dtype=torch.float64)
    case("squared_error", lambda x, t: F.mse_loss(x, t, reduction="sum"), [wide, target])
    case("absolute_error", lambda x, t: F.l1_loss(x, t, reduction="mean"), [wide, target])
    case("bce_with_logits", lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction="sum"), [wide * 5, target])
    case("gaussian_nll", lambda m, v, t: F.gaussian_nll_loss(m, t, v.exp(), full=True, eps=0, reduction="sum"),
         [wide, normal(5, 7), target])
    case("kl", lambda m, v: torch.distributions.kl_divergence(
        torch.distributions.Normal(m, (v / 2).exp()), torch.distributions.Normal(0.0, 1.0)).sum(), [wide, normal(5, 7)])
    case("reparameterize_with", lambda m, v, e: m + torch.exp(0.5 * v) * e, [wide, normal(5, 7), normal(5, 7)])

    cube = normal(3, 4, 5)
    for axes in [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]:
        tag = "".join(map(str, axes))
        case(f"sum_{tag}", lambda x: x.sum(axes), [cube])
        case(f"mean_{tag}", lambda x: x.mean(axes), [cube])
        case(f"amax_{tag}", lambda x: x.amax(axes), [cube])
        case(f"amin_{tag}", lambda x: x.amin(axes), [cube])
        case(f"logsumexp_{tag}", lambda x: x.logsumexp(axes), [cube * 3])
    # Ties share the gradient.
    case("amax_ties", lambda x: x.amax(1), [cube.round()])
    for axis in range(3):
        case(f"argmax_{axis}", lambda x: x.argmax(axis), [cube])
    case("argmax_all", lambda x: x.argmax(), [cube])

    case("matmul_nn", torch.matmul, [normal(5, 7), normal(7, 3)])
    case("matmul_nt", lambda a, b: a @ b.T, [normal(5, 7), normal(3, 7)])
    case("matmul_tn", lambda a, b: a.T @ b, [normal(7, 5), normal(7, 3)])
    case("matmul_batched", torch.bmm, [normal(4, 5, 7), normal(4, 7, 3)])
    case("matmul_one_matrix", torch.matmul, [normal(4, 5, 7), normal(7, 3)])
    case("matmul_batched_nt", lambda a, b: a @ b.transpose(1, 2), [normal(4, 5, 7), normal(4, 3, 7)])
    case("matmul_batched_tn", lambda a, b: a.transpose(1, 2) @ b, [normal(4, 7, 5), normal(4, 7, 3)])
    case("matrix_vector", torch.matmul, [normal(5, 7), normal(7, 1)])
    case("linear", F.linear, [normal(5, 7), normal(3, 7), normal(3)])

    index = torch.tensor([4, 0, 4, 2, 1, 4])
    case("gather", lambda x, i: x[i], [normal(5, 3), index])
    case("scatter_add", lambda x, i: torch.zeros(5, 3, dtype=torch.float64).index_add(0, i, x), [normal(6, 3), index])
    case("permute_201", lambda x: x.permute(2, 0, 1), [cube])
    case("transpose", lambda x: x.transpose(1, 2), [cube])
    case("slice", lambda x: x[:, 1:3], [cube])
    case("pad", lambda x: F.pad(x, (2, 1, 0, 3), value=1.5), [cube])
    case("concat_1", lambda a, b, c: torch.cat([a, b, c], 1), [normal(2, 3, 2), normal(2, 1, 2), normal(2, 2, 2)])
    case("reshape", lambda x: x.reshape(6, 10), [cube])
    case("cast_u32", lambda x: x.to(torch.int64), [positive(9) * 20], [False])
    return {k: v.to(torch.int32) if v.dtype == torch.int64 else v.clone() for k, v in out.items()}


def optimizers():
    """Ten steps of each optimiser on given gradients: final parameters and moments."""
    out = {"gradients": normal(10, 24), "start": normal(24)}
    made = {
        "adam": lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.9, 0.999), eps=1e-8),
        "adam_decay": lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.1),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1),
        "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
        "sgd_momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
        "sgd_nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
        "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.05),
        "rmsprop_momentum": lambda p: torch.optim.RMSprop(p, lr=0.05, momentum=0.9, weight_decay=0.1),
    }
    for clip in [0.0, 2.0]:
        for name, make in made.items():
            p = out["start"].clone().requires_grad_()
            average = p.detach().clone()
            optimizer = make([p])
            for g in out["gradients"]:
                p.grad = g.clone()
                if clip:
                    torch.nn.utils.clip_grad_norm_([p], clip)
                optimizer.step()
                average = 0.9 * average + 0.1 * p.detach()
            out[f"{name}/{clip}/end"] = p.detach().clone()
            out[f"{name}/{clip}/ema"] = average
    return out


# ---- The training run: pytorch/examples' VAE on numbers that both sides draw for themselves from Philox. ----

def philox4x32(counter, key):
    """Philox4x32-10 (Salmon et al. 2011) over arrays of counters [n, 4], written from the paper."""
    c = [counter[:, i].astype(np.uint64) for i in range(4)]
    k = [np.uint64(key[0]), np.uint64(key[1])]
    mask = np.uint64(0xFFFFFFFF)
    for round_ in range(10):
        if round_:
            k = [(k[0] + np.uint64(0x9E3779B9)) & mask, (k[1] + np.uint64(0xBB67AE85)) & mask]
        p, q = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(q >> np.uint64(32)) ^ c[1] ^ k[0], q & mask, (p >> np.uint64(32)) ^ c[3] ^ k[1], p & mask]
    return np.stack(c, 1)


def stream_of(name):
    h = 0x811C9DC5
    for byte in name.encode():
        h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
    return h


def words(count, seed, step, name):
    blocks = (count + 3) // 4
    counter = np.zeros((blocks, 4), np.uint64)
    counter[:, 0] = np.arange(blocks)
    counter[:, 1], counter[:, 2] = step & 0xFFFFFFFF, step >> 32
    counter[:, 3] = stream_of(name)
    return philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32)).reshape(-1)[:count]


def uniform(count, seed, step, name):
    return (words(count, seed, step, name) >> np.uint64(8)).astype(np.float64) * 2.0 ** -24


def normals(count, seed, step, name):
    w = words((count + 3) // 4 * 4, seed, step, name).reshape(-1, 2) >> np.uint64(8)
    radius = np.sqrt(-2.0 * np.log((w[:, 0].astype(np.float64) + 1.0) * 2.0 ** -24))
    angle = w[:, 1].astype(np.float64) * (2.0 * math.pi * 2.0 ** -24)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1)[:count]


class VAE(torch.nn.Module):
    """pytorch/examples/vae, with the noise as an argument."""

    def __init__(self):
        super().__init__()
        self.fc1 = torch.nn.Linear(784, 400)
        self.fc21 = torch.nn.Linear(400, 20)
        self.fc22 = torch.nn.Linear(400, 20)
        self.fc3 = torch.nn.Linear(20, 400)
        self.fc4 = torch.nn.Linear(400, 784)

    def forward(self, x, eps):
        h1 = F.relu(self.fc1(x))
        mu, logvar = self.fc21(h1), self.fc22(h1)
        z = mu + torch.exp(0.5 * logvar) * eps
        return self.fc4(F.relu(self.fc3(z))), mu, logvar


def training(dtype):
    seed, rows, batch, steps = 0x0123456789ABCDEF, 640, 128, 100
    model = VAE().to(dtype)
    with torch.no_grad():
        for name, p in model.named_parameters():
            fan_in = {"fc1": 784, "fc21": 400, "fc22": 400, "fc3": 20, "fc4": 400}[name.split(".")[0]]
            u = uniform(p.numel(), seed, 0, "init/" + name)
            p.copy_(torch.from_numpy(((2 * u - 1) / math.sqrt(fan_in)).astype(np.float32).reshape(p.shape)))
    w = words(rows * 784, seed, 0, "pixels")
    pixels = np.where((w & np.uint64(3)) == 0, w >> np.uint64(24), 0).astype(np.uint8)
    data = torch.from_numpy(pixels.reshape(rows, 784)).to(dtype) / 255
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for step in range(steps):
        at = [(step * batch + i) * 77 % rows for i in range(batch)]
        x = data[at]
        eps = torch.from_numpy(normals(batch * 20, seed, step, "training/z").reshape(batch, 20)).to(dtype)
        logits, mu, logvar = model(x, eps)
        bce = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        loss = bce + kld
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append([loss.item(), bce.item(), kld.item()])
    out = {"losses": torch.tensor(losses, dtype=torch.float64)}
    for name, p in model.named_parameters():
        flat = p.detach().double().reshape(-1)
        out[f"{name}/some"] = flat[:: max(1, flat.numel() // 500)].contiguous()
        out[f"{name}/norm"] = flat.norm().reshape(1)
    return out


def main():
    save_file(operators(), os.path.join(HERE, "operators.safetensors"))
    save_file(optimizers(), os.path.join(HERE, "optimizers.safetensors"))
    run = {f"f64/{k}": v for k, v in training(torch.float64).items()}
    run.update({f"f32/{k}": v for k, v in training(torch.float32).items()})
    save_file(run, os.path.join(HERE, "vae_training.safetensors"))


if __name__ == "__main__":
    main()
