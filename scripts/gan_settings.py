#!/usr/bin/env python3
"""Settings of the 28x28 DCGAN on MNIST tried in PyTorch, where a try takes two minutes, with the networks that wgen trains.

    scripts/gan_settings.py ../shared/data/mnist runs/mnist-classifier [--steps 3000] [--latent 16] [--normalized] [--conditional] ...

Judges 5,000 samples of the weights' moving average in the classifier's features, as wgen eval --judge does, at every third of the
run. Needs numpy, torch and safetensors.
"""
import argparse
import copy
import gzip
import os
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file

from pytorch_models import Classifier, Discriminator, Generator

JUDGED = 5000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("judge")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--generator", type=int, default=32, help="channels next to the image")
    parser.add_argument("--discriminator", type=int, default=64, help="channels next to the image")
    parser.add_argument("--normalized", action="store_true", help="batch normalisation in the discriminator")
    parser.add_argument("--latent", type=int, default=16)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--cosine", action="store_true")
    parser.add_argument("--hinge", action="store_true")
    parser.add_argument("--smoothing", type=float, default=0.0)
    parser.add_argument("--discriminator-steps", type=int, default=1)
    parser.add_argument("--ema", type=float, default=0.999)
    parser.add_argument("--conditional", action="store_true")
    parser.add_argument("--deviation", type=float, default=1.0, help="of the noise that judged samples are made of")
    return parser.parse_args()


def read(folder, name, offset):
    with gzip.open(os.path.join(folder, name)) as file:
        return torch.from_numpy(np.frombuffer(file.read(), np.uint8, offset=offset).copy())


class Judge:
    """The classifier, and what it makes of the test images."""

    def __init__(self, folder, real):
        self.classifier = Classifier().eval()
        self.classifier.load_state_dict(load_file(os.path.join(folder, "model.safetensors")))
        self.real, _ = self.look(real)
        self.radii = self.ball(self.real)

    @torch.no_grad()
    def look(self, images):
        parts = [self.classifier(part) for part in images.split(500)]
        return torch.cat([f for f, _ in parts]), torch.cat([logits for _, logits in parts]).softmax(1)

    @staticmethod
    def ball(features):
        """The distance to the fifth nearest other."""
        return torch.cdist(features, features).kthvalue(6, 1).values

    def frechet(self, features):
        a, b = self.real.double(), features.double()
        s, t = torch.cov(a.T), torch.cov(b.T)
        root = torch.linalg.eigvals(s @ t).real.clamp(min=0).sqrt().sum()
        return ((a.mean(0) - b.mean(0)).square().sum() + s.trace() + t.trace() - 2 * root).item()

    def say(self, images):
        features, p = self.look((images.clamp(0, 1) * 255).round() / 255)
        distances = torch.cdist(self.real, features)
        mean = lambda hits: hits.float().mean().item()
        shares = p.argmax(1).bincount(minlength=10) / len(p)
        return (f"precision {mean((distances < self.radii[:, None]).any(0)):.3f} recall {mean((distances < self.ball(features)).any(1)):.3f} "
                f"coverage {mean(distances.min(1).values < self.radii):.3f} Frechet distance {self.frechet(features):.1f} "
                f"confident {mean(p.max(1).values > 0.9):.3f} classes {shares.min():.3f} to {shares.max():.3f}")


def main():
    options = arguments()
    torch.manual_seed(0)
    images = read(options.data, "train-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    labels = read(options.data, "train-labels-idx1-ubyte.gz", 8).long()
    test = read(options.data, "t10k-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    judge = Judge(options.judge, test[:JUDGED].float() / 255)
    noisy = images[:JUDGED].float() / 255
    print("real, noise 0.2:", judge.say(noisy + 0.2 * torch.randn_like(noisy)), flush=True)

    classes = 10 if options.conditional else 0
    generator = Generator(28, options.latent, options.generator, 1, classes)
    discriminator = Discriminator(28, options.discriminator, 1, classes)
    if not options.normalized:
        discriminator.main = nn.Sequential(*(layer for layer in discriminator.main if not isinstance(layer, nn.BatchNorm2d)))
    for layer in [*generator.modules(), *discriminator.modules()]:
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, 0, 0.02)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1, 0.02)
    average = copy.deepcopy(generator).eval()
    adam = [torch.optim.Adam(net.parameters(), options.lr, (0.5, 0.999)) for net in (generator, discriminator)]

    def noise(c, deviation=1.0):
        z = torch.randn(len(c), options.latent) * deviation
        return torch.cat([z, F.one_hot(c, 10).float()], 1) if classes else z

    def logits(x, c):
        planes = F.one_hot(c, 10).float()[:, :, None, None].expand(-1, -1, 28, 28)
        return discriminator(torch.cat([x, planes], 1) if classes else x)

    def update(optimizer, loss):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    begin, rows = time.time(), iter(())
    for step in range(1, options.steps + 1):
        rate = options.lr * (0.5 * (1 + np.cos(np.pi * step / options.steps)) if options.cosine else 1)
        for group in adam[0].param_groups + adam[1].param_groups:
            group["lr"] = rate
        for _ in range(options.discriminator_steps):
            chosen = next(rows, None)
            if chosen is None or len(chosen) < options.batch:
                rows = iter(torch.randperm(len(images)).split(options.batch))
                chosen = next(rows)
            x, c = images[chosen].float() / 127.5 - 1, labels[chosen]
            with torch.no_grad():
                fake = generator(noise(c))
            on_real, on_fake = logits(x, c), logits(fake, c)
            if options.hinge:
                loss = F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean()
            else:
                loss = (F.softplus(-on_real) + options.smoothing * on_real).mean() + F.softplus(on_fake).mean()
            update(adam[1], loss)
        on_fake = logits(generator(noise(c)), c)
        update(adam[0], -on_fake.mean() if options.hinge else F.softplus(-on_fake).mean())
        decay = min(options.ema, (1 + step) / (10 + step))
        for kept, new in zip(average.state_dict().values(), generator.state_dict().values()):
            kept.lerp_(new, 1 - decay) if kept.is_floating_point() else kept.copy_(new)
        if step % max(1, options.steps // 3) == 0:
            with torch.no_grad():
                made = [average(noise(c, options.deviation)) for c in (torch.arange(JUDGED) % 10).split(500)]
            print(f"{step} steps, {time.time() - begin:.0f} s:", judge.say(torch.cat(made) / 2 + 0.5), flush=True)


main()
