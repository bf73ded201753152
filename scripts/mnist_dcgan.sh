#!/bin/sh
# DCGAN at 28x28 on MNIST, conditional on the digit and not, and the classifier that judges it. See docs/results.md for the times.
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
# A small code, no normalisation in the discriminator, a high rate and small batches: see docs/models/gan.md.
settings="--channels 32 --discriminator-channels 64 --discriminator-norm none --latent 16 --batch 32 --lr 1e-3 --ema 0.999"
if [ ! -f runs/mnist-dcgan-conditional/model.safetensors ]; then
    # shellcheck disable=SC2086
    $wgen -q train gan --data "idx:$mnist" $settings --conditional --steps 4000 --out runs/mnist-dcgan-conditional
fi
if [ ! -f runs/mnist-dcgan/model.safetensors ]; then
    # shellcheck disable=SC2086
    $wgen -q train gan --data "idx:$mnist" $settings --steps 7000 --out runs/mnist-dcgan
fi
for run in mnist-dcgan-conditional mnist-dcgan; do
    $wgen eval runs/$run --data "idx:$mnist" --judge runs/mnist-classifier --samples 10000
done
