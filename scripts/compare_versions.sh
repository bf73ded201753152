#!/usr/bin/env bash
# Runs two versions with the same seeds and compares bits: what a refactoring must not change. Short trainings of every model, each
# resumed, then sampled, encoded, reconstructed and evaluated; a line a model, exit status 1 where one differs, 2 where one cannot run.
#
#     scripts/compare_versions.sh REV [FOLDER]
#
# REV is built in a worktree in FOLDER (target/compare), unless WGEN_BEFORE names its binary; today's is built unless WGEN names it.
# Compared are bytes: every safetensors file (weights, moments, averages, codes, the samples' tensors), metrics.jsonl, progress.json (the
# variants of kernels that were chosen), pictures, and the figures of eval. config.json is not: the names of models in it have changed.
# DEVICE is llvmpipe: on hardware a tuner may choose other variants in the second run than in the first. ONLY='gan dcgan' runs these alone.
# Five to ten minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || [ -n "${WGEN_BEFORE:-}" ] || { echo "usage: scripts/compare_versions.sh REV [FOLDER], or WGEN_BEFORE=BINARY" >&2; exit 2; }
folder="${2:-target/compare}"
mkdir -p "$folder"
folder="$(realpath "$folder")"
device="${DEVICE:-llvmpipe}"
squares="idx:$PWD/tests/fixtures/squares"

before="${WGEN_BEFORE:-}"
if [ -z "$before" ]; then
  rev="$(git rev-parse --verify "$1^{commit}")"
  tree="$folder/tree"
  if [ -d "$tree" ]; then git -C "$tree" checkout -q --detach "$rev"; else git worktree add -q --detach "$tree" "$rev"; fi
  # A target of its own: CARGO_TARGET_DIR would put one binary over the other.
  (cd "$tree" && CARGO_TARGET_DIR="$folder/build" cargo build -q --release --bin wgen)
  before="$folder/build/release/wgen"
fi
after="${WGEN:-}"
if [ -z "$after" ]; then
  cargo build -q --release --bin wgen
  after="${CARGO_TARGET_DIR:-target}/release/wgen"
fi
before="$(realpath "$before")" after="$(realpath "$after")"
echo "before: $before ($("$before" --version))" >&2
echo "after:  $after ($("$after" --version))" >&2

# one WGEN NAME MODEL DATA STEPS OPTION...: everything in the folder that it is called in, so that the paths in its words are equal too.
one() {
  local wgen="$1" name="$2" model="$3" data="$4" steps="$5"
  shift 5
  # Leaves the subshell of compare, in whose condition set -e is not in force.
  run() { "$wgen" -q --device "$device" "$@" || exit 1; }
  # More than one checkpoint, the second with a preview of other weights; then further in a new process.
  run train "$model" --data "$data" --steps "$steps" --checkpoint-steps $((steps - 2)) --seed 3 "$@" --out "$name"
  run train "$model" --data "$data" --resume --steps $((steps + 3)) --out "$name"
  run eval "$name" --data "$data" --seed 1 --json > "$name/eval.json"
  case "$model" in
  vae | gan | diffusion) run sample "$name" --n 6 --seed 2 --out "$name/drawn.png" --save-tensor "$name/drawn.safetensors" ;;
  esac
  case "$model" in
  vae | *ae)
    run encode "$name" --data "$data" --reconstructions --out "$name/codes.safetensors"
    run reconstruct "$name" --data "$data" --n 8 --out "$name/pairs.png"
    ;;
  esac
  case "$name" in
  vae-* | ae-* | ae)
    run interpolate "$name" --data "$data" --n 5 --out "$name/between.png"
    ;;
  diffusion-unet)
    # The samplers, and the bound of the likelihood; the folder as diffusers has it, too.
    run sample "$name" --n 3 --sampler ddpm --steps 7 --class 2 --guidance 2 --out "$name/ddpm.png" --save-tensor "$name/ddpm.safetensors" \
      --chain "$name/chain.png"
    run sample "$name" --n 3 --sampler ddim --steps 5 --eta 0.5 --data "$data" --out "$name/ddim.png" --save-tensor "$name/ddim.safetensors"
    run eval "$name" --data "$data" --examples 8 --bound 3 --json > "$name/bound.json"
    mkdir "$name/pipeline"
    cp -r "$name/unet" "$name/scheduler" "$name/pipeline/"
    run sample "$name/pipeline" --n 3 --steps 5 --out "$name/pipeline.png" --save-tensor "$name/pipeline.safetensors"
    ;;
  esac
}

# What is compared of a folder.
compared() {
  (cd "$1" && find . -type f \( -name '*.safetensors' -o -name metrics.jsonl -o -name progress.json -o -name '*.png' -o -name '*.gif' \
    -o -name eval.json -o -name bound.json \) | sort)
}

different=0
compare() {
  local name="$1" version here files file wrong=()
  case " ${ONLY:-$name} " in *" $name "*) ;; *) return 0 ;; esac
  for version in before after; do
    here="$folder/$version"
    rm -rf "${here:?}/$name" && mkdir -p "$here"
    if ! (cd "$here" && one "${!version}" "$@") 2> "$here/$name.log"; then
      echo "$name: the version $version does not run:" >&2
      tail -n 5 "$here/$name.log" >&2
      exit 2
    fi
  done
  files="$(compared "$folder/before/$name")"
  if [ "$files" != "$(compared "$folder/after/$name")" ]; then
    wrong+=("which files there are")
  fi
  for file in $files; do
    cmp -s "$folder/before/$name/$file" "$folder/after/$name/$file" || wrong+=("$file")
  done
  if [ ${#wrong[@]} = 0 ]; then
    echo "$name: $(wc -w <<< "$files") files, the same bits"
  else
    echo "$name: DIFFERS in ${wrong[*]}"
    different=1
  fi
}

compare vae-points vae toy:ring8:500 20 --hidden 24,16 --latent 2 --ema 0.9 --batch 32 --clip 1 --lr-schedule cosine --lr-warmup 3
compare vae-images vae digits:300 8 --batch 32 --validation 40 --beta-warmup 4 --conditional
compare vae-convolutions vae "$squares" 8 --channels 4,8 --latent 3 --batch 8 --optimizer adamw --weight-decay 0.01
compare ae ae digits:300 8 --hidden 128,32 --latent 8 --batch 32 --masking 0.3
compare sparse-ae sparse-ae digits:300 8 --latent 128 --k 8 --batch 32
compare sparse-ae-kl sparse-ae "$squares" 8 --latent 32 --sparsity kl --batch 16 --optimizer sgd --momentum 0.9
compare contractive-ae contractive-ae digits:300 8 --layers 64,32 --batch 32
compare contractive-ae-hutchinson contractive-ae "$squares" 8 --layers 32 --hutchinson --batch 16
compare gan gan toy:ring8:500 10 --hidden 32,32 --batch 32 --discriminator-steps 2
compare gan-wasserstein gan toy:moons:500 6 --hidden 16 --batch 32 --loss wasserstein --optimizer rmsprop
compare dcgan gan digits:300 6 --channels 8 --latent 16 --batch 16 --conditional
compare dcgan-hinge gan "$squares" 6 --channels 4 --latent 8 --batch 16 --loss hinge --spectral-norm --discriminator-norm none
compare classifier classifier digits:300 6 --features 16 --batch 32
# Not 2 blocks of 32: the header of that file is 0x680 bytes long, and commit c196061 takes a file that begins with 0x80 for a pickle.
compare diffusion-points diffusion toy:swissroll:500 10 --hidden 32 --blocks 3 --timesteps 50 --batch 32
compare diffusion-unet diffusion "$squares" 6 --channels 4,8 --groups 2 --head-channels 4 --attention 8 --timesteps 20 --batch 8 --conditional \
  --accumulate 2 --dropout 0.1 --scale-shift
compare diffusion-variance diffusion "$squares" 5 --channels 4,8 --groups 2 --head-channels 8 --timesteps 20 --batch 8 --variance learned-range \
  --schedule cosine
exit $different
