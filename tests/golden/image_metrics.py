#!/usr/bin/env python3
"""Writes tests/golden/image_metrics.safetensors: PSNR and SSIM as scikit-image 0.26 has them, of f32 images with values in [0, 1].

    python3 -m venv .venv && .venv/bin/pip install -r tests/golden/requirements.txt
    .venv/bin/python tests/golden/image_metrics.py

A case is `NAME/x0` and `NAME/x1`, [height, width, channels], `NAME/psnr` and `NAME/ssim`.
"""
import os

import numpy as np
from safetensors.numpy import save_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(20261126)
out = {}


def case(name, a, b):
    a, b = (np.ascontiguousarray(np.clip(x, 0, 1).astype(np.float32)) for x in (a, b))
    wide = [x.astype(np.float64) for x in (a, b)]
    out[f"{name}/x0"], out[f"{name}/x1"] = a, b
    out[f"{name}/psnr"] = np.array(peak_signal_noise_ratio(*wide, data_range=1.0))
    # Wang et al. 2004: Gaussian window of 11 x 11 (truncated at 3.5 sigma) with sigma 1.5, K1 0.01, K2 0.03, biased covariances.
    out[f"{name}/ssim"] = np.array(structural_similarity(*wide, data_range=1.0, channel_axis=2, gaussian_weights=True, sigma=1.5,
                                                         use_sample_covariance=False, K1=0.01, K2=0.03))


def smooth(h, w, c):
    y, x = np.mgrid[0:h, 0:w]
    return np.stack([0.5 + 0.4 * np.sin(x / (3 + k) + k) * np.cos(y / (4 + k)) for k in range(c)], -1)


def noise(h, w, c, scale):
    return rng.normal(0, scale, (h, w, c))


case("noisy", smooth(24, 31, 3), smooth(24, 31, 3) + noise(24, 31, 3, 0.05))
case("one_window", smooth(11, 11, 1), smooth(11, 11, 1) + noise(11, 11, 1, 0.2))
case("unrelated", rng.random((13, 40, 3)), rng.random((13, 40, 3)))
case("negative", smooth(20, 12, 1), 1 - smooth(20, 12, 1))
case("brighter", smooth(12, 33, 4), smooth(12, 33, 4) + 0.1)
case("flat", np.full((15, 14, 3), 1.0), np.full((15, 14, 3), 0.75))
save_file(out, os.path.join(HERE, "image_metrics.safetensors"))
for name, value in out.items():
    if value.ndim == 0:
        print(name, value)
