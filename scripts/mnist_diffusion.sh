#!/bin/sh
# The class-conditional U-Net on MNIST: training, samples guided, by class and of the null class, judged beside anchors, bits per dimension at
# some of its steps, and pictures. See docs/results.md for the figures and times.
#
#     scripts/mnist_diffusion.sh [FOLDER OF THE FOUR MNIST FILES]
#
# Needs target/release/wgen (cargo build --release), or another one in WGEN. STEPS and BATCH change the training.
set -eu
cd "$(dirname "$0")/.."
mnist=${1:-../shared/data/mnist}
if [ ! -f "$mnist/train-images-idx3-ubyte.gz" ]; then
    echo "no MNIST in $mnist: nothing is measured" >&2
    exit 2
fi
wgen=${WGEN:-target/release/wgen}
run=runs/mnist-diffusion
steps=${STEPS:-12000}
if [ ! -f runs/mnist-classifier/model.safetensors ]; then
    $wgen -q train classifier --data "idx:$mnist" --epochs 8 --lr-schedule cosine --out runs/mnist-classifier
fi
if [ ! -f $run/model.safetensors ]; then
    # The averaged weights of some checkpoints are kept as folders of their own, for the bound's way down: none of a training before this one.
    rm -rf $run-1500 $run-4500
    $wgen -q train diffusion --data "idx:$mnist" --conditional --prediction v --schedule cosine --steps "$steps" --batch "${BATCH:-16}" \
        --lr 1e-3 --lr-warmup 200 --lr-schedule cosine --clip 1 --ema 0.999 --checkpoint-steps 1500 --out $run &
    training=$!
    while kill -0 $training 2>/dev/null; do
        sleep 3
        now=$(cat $run/checkpoints/latest 2>/dev/null || true)
        case "$now" in
        1500 | 4500)
            if [ ! -d "$run-$now" ]; then
                mkdir "$run-$now"
                cp $run/config.json "$run-$now/"
                cp "$run/checkpoints/$now/ema.safetensors" "$run-$now/model.safetensors"
            fi
            ;;
        esac
    done
    wait $training
fi
judge() {
    $wgen eval $run --data "idx:$mnist" --examples 500 --judge runs/mnist-classifier "$@"
}
# By class in turn, guided.
judge --samples 1000 --guidance 2 --steps 25
# By class in turn, unguided.
judge --samples 2000
# The null class: nothing says which digit.
judge --samples 1000 --class 10
for folder in $run-1500 $run-4500 $run; do
    if [ -d $folder ]; then
        echo "$folder:"
        $wgen eval $folder --data "idx:$mnist" --examples 500 --bound 20
    fi
done
$wgen sample $run --n 100 --guidance 2 --out $run/guided.png
$wgen sample $run --n 64 --out $run/by_class.png
$wgen sample $run --n 64 --class 10 --out $run/null_class.png
$wgen sample $run --n 10 --guidance 2 --gif $run/reverse.gif --out $run/ten.png
