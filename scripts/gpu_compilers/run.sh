#!/usr/bin/env bash
# run.sh [OPTIONS]      every kernel of wgen through the compilers of GPUs that are not here; exit status 1 where something is wrong
#
#   -j N                compilers at once (default 1)
#   -g "GPU ..."        these of the file gpus (default: all)
#   -f TEXT             only kernels whose family and variant, or whose file, has it
#   --resume            the kernels that the last run wrote, without building wgen again
#   --fresh             compile what is known already, too
#   --loops             print the instructions of each product's main loop
#   --isa FOLDER        write what drivers show (NIR, assembly), a folder a GPU
#   --forms             instead: the kernels as SPIR-V through spirv-val and as HLSL through glslang's front end
#   --write             write benches/results/gpu_compilers.json and .md; beside gpu_compilers-before.json where that is there
#   --program COMMAND...  instead: a program on the one GPU of -g; shaders compile, nothing is computed
#
# wgen is built (WGEN names one that is), says on each GPU what its capabilities are, and writes the kernels that such a device would run. What a
# kernel came to is kept by its text, the GPU and the driver, so that a second run compiles only what is new, and one that was cut off goes on.
# Needs root (chroot), and root.sh's filesystem (WGEN_GPU_COMPILERS_ROOT, ~/.cache/gpu-compilers/root).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/gpu-compilers
root=${WGEN_GPU_COMPILERS_ROOT:-$cache/root}
gpus=$(grep -v '^#' "$here/gpus" | cut -d' ' -f1)
whole=--whole threads=1 resume= forms= write= loops= isa= options=() filter=() program=()

fail() {
    echo "run.sh: $*" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
    -j) threads=$2; shift 2 ;;
    -g) gpus=$2 whole=; shift 2 ;;
    -f) filter=(--filter "$2") whole=; shift 2 ;;
    --resume) resume=1; shift ;;
    --fresh) options+=(--fresh); shift ;;
    --loops) loops=--loops; shift ;;
    --isa) isa=$2; shift 2 ;;
    --forms) forms=1; shift ;;
    --write) write=1; shift ;;
    --program) shift; program=("$@"); break ;;
    *) sed -n '2,20s/^# \?//p' "$0" >&2; exit 2 ;;
    esac
done
[ -z "$write" ] || [ -n "$whole" ] || fail "--write is of all kernels and GPUs: without -g and -f"
[ "$(id -u)" = 0 ] || fail "chroot needs root: run it with sudo"
[ -e "$root/.made" ] || [ -e "$root/usr/bin/spirv-val" ] || fail "$root is no root filesystem of ours: run root.sh"

# Of this checkout, so that several may work at once; results are shared.
work=$root/srv/wgen/$(printf %s "$project" | cksum | cut -d' ' -f1)
known=$root/srv/wgen/known
inside=${work#"$root"}
mkdir -p "$work" "$known"
fast=$(mktemp -d -p "$([ -d /dev/shm ] && echo /dev/shm || echo "$work")")
trap 'rm -rf "$fast"' EXIT

# on GPU COMMAND...: in the root, with the GPU's shim before everything else.
on() {
    local name=$1 row shim icd variable library
    shift
    row=$(grep -E "^$name +" "$here/gpus") || fail "no GPU '$name' in the file gpus"
    read -r _ shim icd variable _ <<<"$row"
    library=$(cd "$root" && ls usr/lib/*/lib"${shim}"_noop_drm_shim.so | head -n 1)
    chroot "$root" env XDG_RUNTIME_DIR=/tmp HOME=/tmp MESA_SHADER_CACHE_DISABLE=1 \
        LD_PRELOAD="/$library" VK_DRIVER_FILES="/usr/share/vulkan/icd.d/${icd}_icd.json" "$variable" "$@"
}

if [ ${#program[@]} -gt 0 ]; then
    cp "${program[0]}" "$work/program"
    on "$gpus" "$inside/program" "${program[@]:1}"
    exit
fi

target=${CARGO_TARGET_DIR:-$project/target}
CARGO_TARGET_DIR=$target/gpu_compilers cargo build --release --quiet --manifest-path "$here/stats/Cargo.toml"
stats=$target/gpu_compilers/release/stats
# -f: another run may have it open.
cp -f "$stats" "$work/stats"
if [ -z "$resume" ]; then
    if [ -z "${WGEN:-}" ]; then
        (cd "$project" && cargo build --release --quiet --bin wgen)
    fi
    cp -f "${WGEN:-$target/release/wgen}" "$work/wgen"
    rm -rf "$work/kernels"
fi

# kernels CAPS: the folder of the kernels for what a file or a family says, written where they are not.
kernels() {
    local name
    name=$(basename "$1" .json)
    if [ -f "$1" ]; then
        name=$(cksum <"$1" | cut -d' ' -f1)
    fi
    if [ ! -e "$work/kernels/$name.json" ]; then
        mkdir -p "$work/kernels"
        # In memory: wgen syncs each of some thousand files.
        rm -rf "$fast/kernels"
        "$work/wgen" --json shaders --caps "$1" --models --out "$fast/kernels" >"$work/index" 2>"$work/said" ||
            { cat "$work/said" >&2; return 1; }
        rm -rf "$work/kernels/$name"
        cp -r "$fast/kernels" "$work/kernels/$name"
        mv "$work/index" "$work/kernels/$name.json"
    fi
    echo "$name"
}

if [ -n "$forms" ]; then
    folders=()
    # Between them every width of subgroups, with f16 and without.
    for family in portable amd nvidia adreno intel; do
        folders+=("$inside/kernels/$(kernels $family)")
    done
    cp "$here/exceptions.toml" "$work/exceptions.toml"
    chroot "$root" "$inside/stats" forms -j "$threads" --exceptions "$inside/exceptions.toml" "${folders[@]}"
    exit
fi

[ -z "$isa" ] || options+=(--isa "$inside/isa")
lines=()
for gpu in $gpus; do
    begin=$SECONDS
    if [ -z "$resume" ] || [ ! -e "$work/$gpu.caps.json" ]; then
        on "$gpu" "$inside/wgen" --json info 2>/dev/null |
            python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["adapters"][0]["limits"]))' >"$work/$gpu.caps.json"
    fi
    name=$(kernels "$work/$gpu.caps.json")
    rm -rf "$work/isa"
    on "$gpu" "$inside/stats" compile --gpu "$gpu" -j "$threads" --index "$inside/kernels/$name.json" \
        --cache "${known#"$root"}/$gpu.jsonl" "${options[@]}" "${filter[@]}" "$inside/kernels/$name" >"$work/$gpu.jsonl"
    if [ -n "$isa" ]; then
        mkdir -p "$isa/$gpu"
        cp -r "$work/isa/." "$isa/$gpu/"
    fi
    echo "$gpu: $((SECONDS - begin)) s" >&2
    lines+=("$work/$gpu.jsonl")
done

results=$project/benches/results
report=(report --exceptions "$here/exceptions.toml" --summary "$work/summary.json")
[ -z "$whole" ] || [ ! -e "$results/gpu_compilers-before.json" ] || report+=(--before "$results/gpu_compilers-before.json")
[ -z "$write" ] || report+=(--page "$results/gpu_compilers.md")
status=0
"$stats" "${report[@]}" $whole $loops "${lines[@]}" || status=$?
[ -z "$write" ] || cp "$work/summary.json" "$results/gpu_compilers.json"
exit $status
