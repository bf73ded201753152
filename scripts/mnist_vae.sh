#!/usr/bin/env bash
# Trains the default VAE on MNIST for 10 epochs with seeds 0, 1 and 2 and prints reconstruction + KL on the 10,000 test images.
# Usage: scripts/mnist_vae.sh [MNIST_DIR]     (about 2 minutes a seed on lavapipe with 2 cores)
set -euo pipefail
cd "$(dirname "$0")/.."
data=${1:-../shared/data/mnist}
wgen=${WGEN:-./target/release/wgen}
[ -x "$wgen" ] || cargo build --release
for seed in 0 1 2; do
  out=runs/mnist-vae-$seed
  rm -rf "$out"
  "$wgen" -q train vae --data "idx:$data" --epochs 10 --seed $seed --out "$out"
  "$wgen" -q eval "$out" --data "idx:$data" --json > "$out/eval.json"
  python3 - "$out/eval.json" $seed <<'PY'
import json, sys
r = json.load(open(sys.argv[1]))
print(f"seed {sys.argv[2]}: reconstruction + KL {r['reconstruction'] + r['kl']:.3f} nats an image ({r['images']} images, {r['device']})", flush=True)
PY
done
