#!/usr/bin/env bash
# Draws the program's landscape as JPEG files of a camera with a lens (half side 12, nothing transparent), learns it in four cascades, and prints PSNR and
# SSIM of 12 held-out views beside the PSNR of each view's mean colour.
# Usage: scripts/landscape.sh [STEPS [ARGUMENTS OF TRAIN...]]     STEPS: 5000 (13 minutes on lavapipe with 2 cores)
set -euo pipefail
cd "$(dirname "$0")/.."
steps=${1:-5000}
shift || true
wgen=${WGEN:-./target/release/wgen}
[ -x "$wgen" ] || cargo build --release
folder=runs/landscape-scene
run=runs/landscape
rm -rf "$folder" "$run"
${DRAW:-cargo run --release -q --example draw_scene --} "$folder"
"$wgen" scene "$folder" --half-side 12 --out "$folder/scene.svg"
began=$(date +%s)
"$wgen" -q train ngp --data "scene:$folder" --cascades 4 --steps "$steps" --no-previews --out "$run" "$@"
echo "trained for $steps steps in $(($(date +%s) - began)) s"
"$wgen" -q eval "$run" --data "scene:$folder" --json > "$run/eval.json"
python3 - "$run/eval.json" <<'PY'
import json, sys
r = json.load(open(sys.argv[1]))
print(json.dumps({k: v for k, v in r.items() if not isinstance(v, (list, dict))}))
above = [v["psnr"] - v["mean_colour_psnr"] for v in r["each"]]
print(f"{r['views']} held-out views: PSNR {r['psnr']:.2f} dB, the worst {r['worst']['psnr']:.2f}; above the view's mean colour {min(above):.2f} to {max(above):.2f} dB")
PY
