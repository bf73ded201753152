#!/usr/bin/env bash
# Fuzzes every file reader for SECONDS each (600 by default), two at a time: scripts/fuzz.sh [SECONDS] [TARGET...]
# Findings are in fuzz/artifacts/. Needs `cargo install cargo-fuzz` and a nightly toolchain; without them
# `cargo nextest run --release hostile` feeds the same functions by proptest.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds="${1:-600}"
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(idx image safetensors pickle config colmap npy transforms)
toolchain="${WGEN_FUZZ_TOOLCHAIN:-nightly}"

# Seeds: what the tests and the README hold anyway.
mkdir -p fuzz/corpus/{idx,image,safetensors,pickle,config,colmap,npy,transforms}
cp -n docs/images/*.png docs/images/*.gif fuzz/corpus/image/ 2>/dev/null || true
find fuzz/corpus/image -size +64k -delete
cp -n tests/golden/*.safetensors fuzz/corpus/safetensors/ 2>/dev/null || true
cp -n tests/fixtures/pt/*.pt tests/fixtures/pt/*.tar fuzz/corpus/pickle/ 2>/dev/null || true
printf '\0\0\10\3\0\0\0\2\0\0\0\1\0\0\0\2abcd' > fuzz/corpus/idx/plain
# A camera, a picture of it that sees a point, the point: as text (first byte 1), the files parted where the next two bytes say.
printf '\1\100\226%s\n%s\n%s\n%s\n' '1 PINHOLE 4 3 2 2 2 1' '1 1 0 0 0 0 0 5 1 a b.png' '2 1 7 1 1 -1' '7 0 0 0 255 255 255 0.5 1 0' > fuzz/corpus/colmap/text
# One camera and no pictures, as bytes.
printf '\0\310\200\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\100\0\0\0\0\0\0\0\100\0\0\0\0\0\0\360\77\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' > fuzz/corpus/colmap/binary
printf '\223NUMPY\1\0\76\0%-61s\n' "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 17), }" > fuzz/corpus/npy/empty
printf '%s' '{"fl_x": 4, "w": 4, "h": 3, "k1": 0.1, "aabb_scale": 4, "offset": [0.5, 0.5, 0.5], "frames": [{"file_path": "a b.png", "transform_matrix": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 4], [0, 0, 0, 1]]}]}' > fuzz/corpus/transforms/list
gzip -c fuzz/corpus/idx/plain > fuzz/corpus/idx/packed
[ -x "${CARGO_TARGET_DIR:-target}/release/wgen" ] && [ ! -s fuzz/corpus/config/run ] && {
  out="$(mktemp -d)"
  "${CARGO_TARGET_DIR:-target}/release/wgen" -q --device cpu train vae --data toy:ring8:64 --hidden 4 --latent 2 --steps 1 --batch 8 --out "$out/run" >&2 &&
    cp "$out/run/config.json" fuzz/corpus/config/run && cp "$out/run/model.safetensors" fuzz/corpus/safetensors/run
  rm -rf "$out"
}

cargo "+$toolchain" fuzz build --release
run() {
  cargo "+$toolchain" fuzz run --release "$1" -- -max_total_time="$seconds" -rss_limit_mb=2048 -malloc_limit_mb=600 -max_len=65536 \
    -print_final_stats=1 > "fuzz/artifacts/$1.log" 2>&1 && echo "$1: $(grep -o 'Done [0-9]* runs' "fuzz/artifacts/$1.log"), nothing found" ||
    { echo "$1: FOUND SOMETHING, see fuzz/artifacts/$1.log"; return 1; }
}
export -f run
export toolchain seconds
mkdir -p fuzz/artifacts
printf '%s\n' "${targets[@]}" | xargs -P 2 -I{} bash -c 'run {}'
