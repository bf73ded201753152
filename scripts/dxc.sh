#!/usr/bin/env bash
# dxc.sh [FAMILY ...]    every kernel that such devices would run, as HLSL, through Microsoft's dxc; status 1 and its words where it refuses one
#
# For Windows, where the SDK has dxc (the workflow runs it there), or any machine with one on PATH (DXC names another). What Debian's glslang has to say of
# the same text: scripts/gpu_compilers/run.sh --forms.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dxc=${DXC:-$(command -v dxc || ls -d "/c/Program Files (x86)/Windows Kits/10/bin/"*/x64/dxc.exe 2>/dev/null | tail -n 1 || true)}
[ -n "$dxc" ] || { echo "dxc.sh: no dxc: it is in the Windows SDK; DXC=... names one" >&2; exit 2; }
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
[ $# -gt 0 ] || set -- portable nvidia

failed=0 count=0
for family in "$@"; do
    cargo run --release --quiet -- shaders --caps "$family" --models --target hlsl --out "$out/$family"
    for file in "$out/$family"/*.hlsl; do
        # As wgpu-hal 30 asks for it (dx12/shader_compilation.rs). The function behind [numthreads(...)].
        entry=$(tr '\n' ' ' <"$file" | sed -E 's/.*\[numthreads\([^]]*\)\] *void +([A-Za-z0-9_]+)\(.*/\1/')
        count=$((count + 1))
        if ! said=$("$dxc" -nologo -no-warnings -Ges -T cs_6_2 -enable-16bit-types -HV 2018 -E "$entry" -Fo "$out/object" "$file" 2>&1); then
            failed=$((failed + 1))
            echo "$family, $(basename "$file"), $(sed -n 1p "${file%.hlsl}.wgsl"): $said"
        fi
    done
done
echo "$count kernels through dxc, $failed refused"
[ "$failed" = 0 ]
