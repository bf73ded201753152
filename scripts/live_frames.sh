#!/usr/bin/env bash
# Trains and draws a radiance field in an application's frames without a window, half of them with a moving camera, and prints the median frame beside the
# budget: within 20 % of it, or the script fails.
# Usage: scripts/live_frames.sh [BUDGET IN MS [FRAMES [ARGUMENTS OF live_nerf...]]]     250 and 200
set -euo pipefail
cd "$(dirname "$0")/.."
budget=${1:-250}
frames=${2:-200}
shift $(($# < 2 ? $# : 2))
live=${LIVE:-cargo run --release -q --example live_nerf --}
said=$(env -u DISPLAY -u WAYLAND_DISPLAY $live --budget "$budget" --frames "$frames" --steps 100000 --out runs/live-frames "$@")
echo "$said"
python3 - "$budget" "$said" <<'PY'
import re, sys
budget = float(sys.argv[1])
median = float(re.search(r"median frame ([0-9.]+) ms", sys.argv[2])[1])
print(f"{median / budget:.3f} of the budget")
sys.exit(not 0.8 <= median / budget <= 1.2)
PY
