#!/bin/sh
# The same U-Net on MNIST at 16 x 16, without classes, trained to predict v along cosine betas and to match a flow: as many steps, the same batches and
# seeds; then the Frechet distance of samples of both, DDIM and Euler with 50 steps and both with 10, beside anchors.
#
#     scripts/mnist_flow.sh [FOLDER OF THE FOUR MNIST FILES]
#
# Needs target/release/wgen (cargo build --release), or another one in WGEN. STEPS, BATCH and SAMPLES change the training and the judgement, OUT
# the folder of the runs, JUDGE the classifier that judges. PYTHON is one that has numpy and Pillow, which make the pictures smaller.
set -eu
cd "$(dirname "$0")/.."
mnist=${1:-../shared/data/mnist}
if [ ! -f "$mnist/train-images-idx3-ubyte.gz" ]; then
    echo "no MNIST in $mnist: nothing is measured" >&2
    exit 2
fi
wgen=${WGEN:-target/release/wgen}
out=${OUT:-runs}
judge=${JUDGE:-$out/mnist-16-classifier}
if [ ! -f "$out/mnist-16/train-images-idx3-ubyte" ]; then
    "${PYTHON:-python3}" scripts/smaller_mnist.py "$mnist" "$out/mnist-16"
fi
mnist=$out/mnist-16
if [ ! -f "$judge/model.safetensors" ]; then
    $wgen -q train classifier --data "idx:$mnist" --epochs 4 --lr-schedule cosine --out "$judge"
fi
# NAME OPTIONS...: a run.
train() {
    name=$1
    shift
    if [ ! -f "$out/$name/model.safetensors" ]; then
        $wgen -q train diffusion --data "idx:$mnist" --channels 32,32,64 --steps "${STEPS:-2500}" --batch "${BATCH:-16}" --lr 1e-3 --lr-warmup 200 \
            --lr-schedule cosine --clip 1 --ema 0.995 --no-previews --out "$out/$name" "$@"
    fi
}
train mnist-16-v --prediction v --schedule cosine
train mnist-16-flow --process flow
# NAME OPTIONS...: its figures.
judged() {
    name=$1
    shift
    echo "$name, $*:"
    $wgen eval "$out/$name" --data "idx:$mnist" --examples 200 --judge "$judge" --samples "${SAMPLES:-300}" "$@"
}
judged mnist-16-v --sampler ddim --spacing trailing --steps 50
judged mnist-16-flow --sampler euler --steps 50
judged mnist-16-v --sampler ddim --spacing trailing --steps 10
judged mnist-16-flow --sampler euler --steps 10
