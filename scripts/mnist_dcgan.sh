#!/bin/sh
# DCGAN at 28x28 on MNIST, and the classifier that judges it. See docs/results.md for the times.
#
#     scripts/mnist_dcgan.sh [FOLDER OF THE FOUR MNIST FILES]
#
# Needs target/release/wgen (cargo build --release).
set -eu
cd "$(dirname "$0")/.."
mnist=${1:-../shared/data/mnist}
if [ ! -f "$mnist/train-images-idx3-ubyte.gz" ]; then
    echo "no MNIST in $mnist: nothing is measured" >&2
    exit 2
fi
wgen=target/release/wgen
if [ ! -f runs/mnist-classifier/model.safetensors ]; then
    $wgen -q train classifier --data "idx:$mnist" --epochs 8 --lr-schedule cosine --out runs/mnist-classifier
fi
$wgen eval runs/mnist-classifier --data "idx:$mnist"
if [ ! -f runs/mnist-dcgan/model.safetensors ]; then
    $wgen -q train gan --data "idx:$mnist" --channels 32 --steps 6850 --ema 0.999 --out runs/mnist-dcgan
fi
$wgen eval runs/mnist-dcgan --data "idx:$mnist" --judge runs/mnist-classifier --samples 10000
