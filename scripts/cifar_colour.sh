#!/bin/sh
# A convolutional VAE, a class-conditional DCGAN and a class-conditional U-Net on CIFAR-10's 10,000 test pictures as a folder of JPEGs, a tenth
# held out: each about 15 minutes of two cores with lavapipe; held-out figures, and pictures. See docs/results.md.
#
#     scripts/cifar_colour.sh FOLDER          (the folder of the ten folders of classes: tar xf cifar10-test-jpeg.tar gives test/)
#
# Needs target/release/wgen (cargo build --release), or another one in WGEN.
set -eu
cd "$(dirname "$0")/.."
data=${1:?the folder of the ten folders of classes}
if [ ! -d "$data/airplane" ]; then
    echo "no airplane/ in $data: nothing is measured" >&2
    exit 2
fi
wgen=${WGEN:-target/release/wgen}
train() {
    run=$1
    model=$2
    shift 2
    if [ ! -f "runs/$run/model.safetensors" ]; then
        $wgen -q train "$model" --data "images:$data" --out "runs/$run" "$@"
    fi
}
train cifar-vae vae --steps 5000 --lr-schedule cosine --validation 500 --ema 0.999
# As on MNIST (docs/models/gan.md), with a larger code and a lower rate.
train cifar-dcgan gan --conditional --channels 32 --discriminator-channels 64 --discriminator-norm none --latent 64 --batch 32 --lr 5e-4 \
    --ema 0.999 --steps 3100
train cifar-diffusion diffusion --conditional --prediction v --schedule cosine --steps 2600 --batch 16 --lr 1e-3 --lr-warmup 200 \
    --lr-schedule cosine --clip 1 --ema 0.999
# What samples are judged in: its features, not its verdicts.
train cifar-classifier classifier --epochs 20 --lr-schedule cosine
$wgen eval runs/cifar-vae --data "images:$data"
$wgen eval runs/cifar-classifier --data "images:$data"
$wgen eval runs/cifar-diffusion --data "images:$data" --bound 20 --examples 300
for run in cifar-vae cifar-dcgan; do
    $wgen eval runs/$run --data "images:$data" --judge runs/cifar-classifier --samples 1000
done
$wgen reconstruct runs/cifar-vae --data "images:$data" --n 32 --out runs/cifar-vae/reconstructions.png
$wgen sample runs/cifar-vae --n 50 --out runs/cifar-vae/samples.png
$wgen sample runs/cifar-dcgan --n 50 --out runs/cifar-dcgan/samples.png
$wgen sample runs/cifar-diffusion --n 50 --guidance 2 --steps 25 --out runs/cifar-diffusion/samples.png
