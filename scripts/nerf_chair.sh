#!/usr/bin/env bash
# Trains a hash grid on the chair of Blender's scenes with seeds 0, 1 and 2 for 3,500 steps and prints, of its 25 test views, PSNR and SSIM after 750 steps and
# at the end; then the network of 4 layers of 128 for 3,800 steps.
# Usage: scripts/nerf_chair.sh [SCENE [WHAT...]]     WHAT: seeds and `vanilla`, all by default (8 minutes a seed on lavapipe with 2 cores)
set -euo pipefail
cd "$(dirname "$0")/.."
scene=${1:-../shared/data/nerf/chair}
shift || true
wgen=${WGEN:-./target/release/wgen}
[ -x "$wgen" ] || cargo build --release

views() { # NAME FOLDER
  "$wgen" -q eval "$2" --data "scene:$scene" --json > "$2/eval.json"
  python3 - "$1" "$2/eval.json" <<'PY'
import json, sys
r = json.load(open(sys.argv[2]))
print(f"{sys.argv[1]}: {json.dumps({k: v for k, v in r.items() if not isinstance(v, list)})}", flush=True)
PY
}

for what in "${@:-0 1 2 vanilla}"; do
  for run in $what; do
    out=runs/chair-$run
    rm -rf "$out" "$out-750"
    began=$(date +%s)
    if [ "$run" = vanilla ]; then
      "$wgen" -q train nerf --data "scene:$scene" --depth 4 --width 128 --coarse 32 --fine 32 --batch 256 --lr 1e-3 --precrop 200 --steps 3800 \
        --no-previews --out "$out"
    else
      "$wgen" -q train ngp --data "scene:$scene" --seed "$run" --steps 3500 --checkpoint-steps 750 --no-previews --out "$out" &
      # What the same run knows after 750 steps, at its first rate.
      until [ -e "$out/checkpoints/750/model.safetensors" ]; do
        kill -0 $! || exit 1
        sleep 1
      done
      mkdir "$out-750"
      cp "$out/config.json" "$out/checkpoints/750/model.safetensors" "$out-750"
      wait $!
      views "seed $run, step 750" "$out-750"
    fi
    echo "$out: trained in $(($(date +%s) - began)) s"
    views "$run" "$out"
  done
done
