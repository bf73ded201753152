#!/usr/bin/env bash
# Times two versions' training steps in turns: one step on the device, and the first step of a process whose caches are empty.
#
#     WGEN_BEFORE=BINARY [WGEN=BINARY] [TURNS=5] [ONLY='vae diffusion'] scripts/compare_times.sh
#
# Prints, a line a model and figure, the median of each version in milliseconds, the ratio of the medians, and the least and largest ratio
# of one turn. Today's binary is built unless WGEN names it.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${WGEN_BEFORE:?names the binary of the version before}"
after="${WGEN:-}"
if [ -z "$after" ]; then
  cargo build -q --release --bin wgen
  after="${CARGO_TARGET_DIR:-target}/release/wgen"
fi
rows="$(mktemp)"
trap 'rm -f "$rows"' EXIT
for model in ${ONLY:-vae gan-discriminator gan-generator diffusion}; do
  for turn in $(seq "${TURNS:-5}"); do
    for version in before after; do
      binary="$after"
      [ "$version" = after ] || binary="$WGEN_BEFORE"
      cache="$(mktemp -d)"
      MESA_SHADER_CACHE_DIR="$cache" XDG_CACHE_HOME="$cache" "$binary" -q bench --profile "$model" --rounds 5 --replay 1 --json |
        python3 -c "import json, sys; j = json.load(sys.stdin); print('$model', '$turn', '$version', j['whole'], j['first_step'])" >> "$rows"
      rm -rf "$cache"
    done
  done
done
python3 - "$rows" <<'P'
import collections, statistics, sys

times = collections.defaultdict(dict)
for line in open(sys.argv[1]):
    model, turn, version, *figures = line.split()
    for name, figure in zip(("step", "first step"), figures):
        times[model, name].setdefault(version, []).append(1e3 * float(figure))
for (model, name), both in times.items():
    before, after = both["before"], both["after"]
    middle = statistics.median(before), statistics.median(after)
    each = sorted(a / b for a, b in zip(after, before))
    print(f"{model}, {name}: {middle[0]:.1f} -> {middle[1]:.1f} ms, {middle[1] / middle[0]:.3f} ({each[0]:.3f} to {each[-1]:.3f})")
P
