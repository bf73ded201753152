#!/usr/bin/env python3
"""MNIST's four files at another size, by means over areas: scripts/smaller_mnist.py FROM TO [SIDE, 16]. Needs numpy and Pillow."""
import os
import sys

import numpy as np
from PIL import Image

from mnist_inpainting import idx


def main():
    source, target = sys.argv[1:3]
    side = int(sys.argv[3]) if len(sys.argv) > 3 else 16
    os.makedirs(target, exist_ok=True)
    for part in ("train", "t10k"):
        images = idx(f"{source}/{part}-images-idx3-ubyte.gz")
        small = np.stack([np.asarray(Image.fromarray(x).resize((side, side), Image.BOX)) for x in images])
        for name, values in (("images-idx3", small), ("labels-idx1", idx(f"{source}/{part}-labels-idx1-ubyte.gz"))):
            with open(f"{target}/{part}-{name}-ubyte", "wb") as file:
                file.write(bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape) + values.astype(np.uint8).tobytes())


if __name__ == "__main__":
    main()
