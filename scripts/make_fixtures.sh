#!/usr/bin/env bash
# Writes tests/fixtures/: run folders and a diffusers folder as the version before the house was built (commit c196061) left them, and
# recorded.json with what that version made of them next. tests/fixtures.rs holds every later version to it.
#
#     scripts/make_fixtures.sh WGEN
#
# WGEN is a binary of that version; a later one would compare itself with itself, so it is refused (it writes "sparse-ae" for "sparse_ae").
# Needs python3 without packages. Twenty seconds to two minutes on lavapipe, which should be the GPU: bits are recorded of the adapter that is used.
set -euo pipefail
[ $# = 1 ] && [ -x "$1" ] || { echo "usage: scripts/make_fixtures.sh WGEN, a binary of commit c196061" >&2; exit 2; }
wgen="$(realpath "$1")"
cd "$(dirname "$0")/../tests/fixtures"
# Next to nothing is learned in so few steps; a high rate makes the next losses depend on the moments all the more.
rate=5e-3
next=3
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# Before anything is written over.
"$wgen" -q --device cpu train sparse-ae --data toy:ring8:64 --latent 4 --k 2 --batch 8 --steps 1 --out "$work/probe"
grep -q '"name": "sparse_ae"' "$work/probe/config.json" || { echo "$wgen is no binary of the version before" >&2; exit 2; }

# 64 images of 8x8 in the format of MNIST, a bright square each: no model of images needs more to be small.
rm -rf squares && mkdir squares
python3 - <<'PYTHON'
import struct

COUNT, SIZE = 64, 8
pixels = bytearray()
for i in range(COUNT):
    left, top, width = i % 5, i // 5 % 5, 2 + i % 2
    for y in range(SIZE):
        for x in range(SIZE):
            inside = left <= x < left + width and top <= y < top + width
            pixels.append(255 if inside else 16 * ((i + y) % 3))
labels = bytes(i % 5 for i in range(COUNT))
for part in ["train", "t10k"]:
    with open(f"squares/{part}-images-idx3-ubyte", "wb") as file:
        file.write(struct.pack(">4B3I", 0, 0, 8, 3, COUNT, SIZE, SIZE) + pixels)
    with open(f"squares/{part}-labels-idx1-ubyte", "wb") as file:
        file.write(struct.pack(">4BI", 0, 0, 8, 1, COUNT) + labels)
PYTHON

# fixture NAME MODEL DATA STEPS OPTION...: a run of STEPS steps, and what comes next on the GPU and on the CPU.
fixture() {
  local name="$1" model="$2" data="$3" steps="$4" run="$work/run/$1"
  shift 4
  echo "$name" >&2
  "$wgen" -q train "$model" --data "$data" --steps "$steps" --lr "$rate" "$@" --out "$run"
  rm -rf "$name" && mkdir "$name"
  cp -r "$run/config.json" "$run/model.safetensors" "$run/metrics.jsonl" "$run/checkpoints" "$name/"
  for device in auto cpu; do
    mkdir -p "$work/$device"
    cp -r "$name" "$work/$device/$name"
    # Every step's loss, not one in fifty.
    sed -i 's/"log_steps": 50/"log_steps": 1/' "$work/$device/$name/config.json"
    "$wgen" -q --device "$device" train "$model" --data "$data" --resume --steps $((steps + next)) --out "$work/$device/$name"
  done
  printf '%s\t%s\t%s\t%s\n' "$name" "$model" "$data" "$steps" >> "$work/list"
}

# A Gaussian decoder, and a moving average of the weights, which model.safetensors then is.
fixture vae vae toy:ring8:640 20 --hidden 12 --latent 2 --ema 0.9 --batch 32
# Convolutions, and a linear layer behind them whose columns lie otherwise on the device than in the file.
fixture conv-vae vae idx:squares 6 --channels 2,4 --latent 3 --batch 8
# Names that config.json no longer has: sparse_ae and contractive_ae.
fixture sparse-ae sparse-ae idx:squares 6 --latent 16 --k 4 --batch 8
fixture contractive-ae contractive-ae idx:squares 6 --layers 12 --batch 8
# Two phases, each with an optimiser of its own.
fixture gan gan toy:ring8:640 12 --hidden 12 --latent 4 --batch 32
# Batch normalisation: running statistics, and counters that files have as I64.
fixture dcgan gan idx:squares 4 --channels 2 --latent 4 --batch 8
fixture unet diffusion idx:squares 6 --channels 2,4 --groups 2 --head-channels 2 --batch 4 --timesteps 20

# What that run left for diffusers, which is also how wgen opens a folder that diffusers saved: without a config.json.
echo diffusers >&2
rm -rf diffusers && mkdir diffusers
cp -r "$work/run/unet/model_index.json" "$work/run/unet/unet" "$work/run/unet/scheduler" diffusers/
"$wgen" -q sample diffusers --n 2 --steps 4 --seed 5 --out "$work/picture.png" --save-tensor diffusers.samples.safetensors

# Files are read here by their format alone, without wgen and without the safetensors library.
python3 - "$work" "$next" "$("$wgen" --version)" <<'PYTHON'
import json
import math
import pathlib
import struct
import sys

work, count, version = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


def tensors(path, prefix=""):
    data = pathlib.Path(path).read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    cut = lambda t: data[start + t["data_offsets"][0] : start + t["data_offsets"][1]]
    return {n[len(prefix) :]: (t["dtype"], cut(t)) for n, t in sorted(header.items()) if n.startswith(prefix)}


def fnv(data):
    state = 0xCBF29CE484222325
    for byte in data:
        state = (state ^ byte) * 0x100000001B3 % 2**64
    return f"{state:016x}"


def parts(checkpoint):
    found = {
        "weights": tensors(checkpoint / "model.safetensors"),
        "moment1": tensors(checkpoint / "optimizer.safetensors", "moment1."),
        "moment2": tensors(checkpoint / "optimizer.safetensors", "moment2."),
    }
    if (checkpoint / "ema.safetensors").exists():
        found["ema"] = tensors(checkpoint / "ema.safetensors")
    return found


def fingerprint(found):
    return fnv(b"".join(name.encode() + data for name, (_, data) in found.items()))


def norm(found):
    floats = (x for kind, data in found.values() if kind == "F32" for (x,) in struct.iter_unpack("<f", data))
    return math.sqrt(sum(x * x for x in floats))


def after(folder, step):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    figures = [line for line in lines if line["step"] > step]
    assert [line["step"] for line in figures] == [step + 1 + i for i in range(count)], folder
    checkpoint = folder / "checkpoints" / str(step + count)
    return {"figures": figures, "norms": {part: norm(found) for part, found in parts(checkpoint).items()}}


fixtures = {}
for line in (work / "list").read_text().splitlines():
    name, model, data, step = line.split("\t")
    step = int(step)
    checkpoint = pathlib.Path(name) / "checkpoints" / str(step)
    recorded = {part: fingerprint(found) for part, found in parts(checkpoint).items()}
    recorded["best"] = fingerprint(tensors(f"{name}/model.safetensors"))
    progress = json.loads((checkpoint / "progress.json").read_text())
    fixtures[name] = {
        "model": model,
        "data": data,
        "step": step,
        "hashes": recorded,
        "next": {"gpu": after(work / "auto" / name, step), "cpu": after(work / "cpu" / name, step)},
    }
recorded = {
    "written_by": f"{version}, commit c196061, by scripts/make_fixtures.sh",
    "hashes_are": "FNV-1a, 64 bits, of each tensor's name (moments without their prefix) and bytes as files have them, in order of names: "
    "border order, little endian, F32 but for counters in I64",
    "norms_are": "L2, of all F32 tensors of the checkpoint after the next steps together",
    "gpu": progress["device"],
    "fixtures": fixtures,
    "diffusers": {
        "hash": fingerprint(tensors("diffusers/unet/diffusion_pytorch_model.safetensors")),
        "samples": {"n": 2, "steps": 4, "seed": 5, "file": "diffusers.samples.safetensors"},
    },
}
pathlib.Path("recorded.json").write_text(json.dumps(recorded, indent=1) + "\n")
PYTHON
du -sb . >&2
