#!/usr/bin/env python3
"""The checkpoints of every model, both ways: PyTorch loads wgen's with strict=True and gives the same outputs for the same inputs; wgen
loads weights that PyTorch drew and saved, and gives what PyTorch gives.

    .venv/bin/python scripts/exchange_models.py ../shared/data/mnist ae=runs/mnist-ae-0 vae=runs/mnist-vae-0 dcgan=runs/mnist-dcgan \\
        classifier=runs/mnist-classifier noised-classifier=runs/noised

Exit status 1 if an output differs by more than 1e-4 of its range.
"""
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import pytorch_models as models
from pytorch_noised_classifier import EncoderUNet

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WGEN = os.path.join(ROOT, "target/release/wgen")
DATA = sys.argv[1]
RUNS = dict(argument.split("=", 1) for argument in sys.argv[2:])
worst = 0.0


def wgen(*arguments):
    subprocess.run([WGEN, "-q", *arguments], check=True)


def images():
    with gzip.open(os.path.join(DATA, "t10k-images-idx3-ubyte.gz")) as f:
        pixels = np.frombuffer(f.read(), np.uint8, offset=16)
    return torch.from_numpy(pixels.reshape(-1, 784).astype(np.float32) / 255)


def compare(what, got, expected):
    global worst
    expected = expected.reshape(got.shape)
    difference = ((got - expected).abs().max() / expected.abs().max()).item()
    worst = max(worst, difference)
    print(f"{what:<48} {tuple(got.shape)!s:<16} {difference:.2e} of the range")


def outputs(kind, model, x, z):
    """What PyTorch gives, by the names of wgen's tensors."""
    model.eval()
    with torch.no_grad():
        if kind == "ae":
            code = model.encoder(x)
            return {"code": code, "reconstructions": model.decoder(code)}
        if kind == "vae":
            mu, log_variance = model.encode(x)
            return {"mu": mu, "log_variance": log_variance, "reconstructions": torch.sigmoid(model.decode(mu))}
        if kind == "classifier":
            features, logits = model(x.reshape(-1, 1, 28, 28))
            return {"features": features, "logits": logits}
        if kind == "noised-classifier":
            parts = [model(b.reshape(-1, 1, 28, 28) * 2 - 1, torch.zeros(len(b))) for b in x.split(500)]
            return {"logits": torch.cat(parts)}
        return {"images": model.generator(z) * 0.5 + 0.5}


def check(kind, folder, model, x, way):
    with tempfile.TemporaryDirectory() as temporary:
        file = os.path.join(temporary, "out.safetensors")
        if kind == "dcgan":
            wgen("sample", folder, "--n", "100", "--out", os.path.join(temporary, "x.png"), "--save-tensor", file)
        else:
            more = [] if kind.endswith("classifier") else ["--reconstructions"]
            wgen("encode", folder, "--data", f"idx:{DATA}", "--out", file, *more)
        found = load_file(file)
        for name, expected in outputs(kind, model, x, found.get("z")).items():
            compare(f"{kind}, {way}: {name}", found[name], expected)
        if kind == "dcgan":
            # The discriminator has no command of its own: the mean of D(x) over the test images, as eval reports it.
            answer = subprocess.run([WGEN, "eval", folder, "--data", f"idx:{DATA}", "--json"], check=True, capture_output=True, text=True)
            with torch.no_grad():
                real = torch.sigmoid(torch.cat([model.discriminator(b.reshape(-1, 1, 28, 28) * 2 - 1) for b in x.split(500)]))
            compare(f"{kind}, {way}: mean of D(x)", torch.tensor([json.loads(answer.stdout)["d_real"]]), real.mean().reshape(1))


def build(kind, folder):
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)["model"]
    if kind == "ae":
        return models.Autoencoder((784, *config["hidden"], config["latent"]))
    if kind == "vae":
        return models.Vae(784, config["hidden"][0], config["latent"])
    if kind == "classifier":
        return models.Classifier(channels=tuple(config["channels"]), features=config["features"], classes=config["classes"])
    if kind == "noised-classifier":
        return EncoderUNet((1, 28, 28), config["classes"], pool=config["pool"], **config["network"])
    channels = config["networks"]["dcgan"]["generator_channels"]
    return models.Dcgan(28, config["latent"], channels)


def main():
    x = images()
    torch.manual_seed(7)
    for kind, folder in RUNS.items():
        model = build(kind, folder)
        model.load_state_dict(load_file(os.path.join(folder, "model.safetensors")), strict=True)
        if kind == "dcgan":
            # Each network alone, as pytorch/examples has it.
            model.generator.load_state_dict(load_file(os.path.join(folder, "generator.safetensors")), strict=True)
            model.discriminator.load_state_dict(load_file(os.path.join(folder, "discriminator.safetensors")), strict=True)
        check(kind, folder, model, x, "wgen's in PyTorch")
        # The other way round: weights that PyTorch drew, running statistics that it found.
        other = build(kind, folder)
        if kind == "dcgan":
            other.train()
            with torch.no_grad():
                for _ in range(5):
                    other.discriminator(other.generator(torch.randn(64, other.generator.main[0].in_channels)))
        with tempfile.TemporaryDirectory() as copy:
            shutil.copy(os.path.join(folder, "config.json"), copy)
            save_file({k: v.contiguous() for k, v in other.state_dict().items()}, os.path.join(copy, "model.safetensors"))
            check(kind, copy, other, x, "PyTorch's in wgen")
    print(f"largest difference {worst:.2e} of a range; asked 1e-4")
    sys.exit(1 if worst > 1e-4 else 0)


if __name__ == "__main__":
    main()
