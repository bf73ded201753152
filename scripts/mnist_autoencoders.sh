#!/bin/sh
# The autoencoders' figures on MNIST.
#
#     scripts/mnist_autoencoders.sh [FOLDER OF THE FOUR MNIST FILES]
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
run() {
    name=$1
    shift
    if [ ! -f "runs/$name/model.safetensors" ]; then
        $wgen -q train "$@" --data "idx:$mnist" --out "runs/$name"
    fi
    echo "$name: $($wgen -q eval "runs/$name" --data "idx:$mnist" --json | tr -d '\n' | tr -s ' ')"
}
run mnist-ae-0 ae --epochs 30 --lr-schedule cosine --seed 0
run mnist-ae-1 ae --epochs 30 --lr-schedule cosine --seed 1
run mnist-ae-long ae --epochs 48 --lr-schedule cosine --seed 0
run sparse-topk sparse-ae --sparsity top-k --k 32 --epochs 5 --lr-schedule cosine
run sparse-l1 sparse-ae --sparsity l1 --penalty 0.2 --epochs 5 --lr-schedule cosine
run sparse-kl sparse-ae --sparsity kl --penalty 1.5 --rho 0.05 --lr 2e-3 --epochs 16 --lr-schedule cosine
for penalty in 0 0.01 0.03 0.08 0.1 0.2; do
    run cae-$penalty contractive-ae --penalty $penalty --epochs 6
done
