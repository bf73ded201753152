#!/usr/bin/env bash
# Everything that the tests need, then the tests. Works on a fresh machine with a Rust toolchain.
set -euo pipefail
cd "$(dirname "$0")"
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$(mktemp -d)}"

wgen="${CARGO_TARGET_DIR:-target}/release/wgen"
say() { printf '%s\n' "$*" >&2; }

# An adapter: the GPU tests fail without one, so a software one is installed where that is possible.
cargo build --release --bins
if ! "$wgen" info --json 2>/dev/null | grep -q '"name"'; then
  if command -v apt-get >/dev/null; then
    say "no GPU adapter found: installing Mesa's software Vulkan driver (lavapipe)"
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo"
    $sudo apt-get update -qq && $sudo apt-get install -y -qq mesa-vulkan-drivers
  else
    say "no GPU adapter found, and no apt-get to install one with."
    say "Install a Vulkan driver (Fedora: mesa-vulkan-drivers; Arch: vulkan-swrast; Windows and macOS have DX12 and Metal)."
  fi
  "$wgen" info --json 2>/dev/null | grep -q '"name"' || { say "still no adapter: the GPU tests cannot run"; exit 1; }
fi

# An X server without a screen, for the example that opens a window.
if [ "$(uname)" = Linux ] && ! command -v Xvfb >/dev/null; then
  if command -v apt-get >/dev/null; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo"
    { $sudo apt-get update -qq && $sudo apt-get install -y -qq xvfb libxkbcommon-x11-0 libxcursor1 libxi6 libxrandr2; } ||
      say "Xvfb could not be installed: the window example is not run"
  else
    say "NOTE: Xvfb is not on PATH, so the window example is not run."
  fi
fi

if ! command -v tint >/dev/null; then
  say "NOTE: tint is not on PATH, so no kernel is validated by it (npm package 'webgpu', or Dawn's release)."
fi

if command -v cargo-nextest >/dev/null; then
  cargo nextest run --release "$@"
else
  say "cargo-nextest is not installed: falling back to cargo test (slower; cargo install cargo-nextest --locked)"
  cargo test --release "$@"
fi
cargo test --release --doc
