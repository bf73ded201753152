#!/usr/bin/env python3
"""Trains for MINUTES and watches the process's memory: scripts/soak.py [MINUTES] [--binary PATH] [--out docs/soak]

Writes OUT.csv (seconds, resident MiB, training steps) and OUT.svg, and fails where the memory of the second half is more than 2 %
above the first half's end. Ctrl-C is how the training is ended, so that this also shows a clean stop.
"""
import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("minutes", nargs="?", type=float, default=30)
parser.add_argument("--binary", default=os.path.join(ROOT, "target/release/wgen"))
parser.add_argument("--out", default=os.path.join(ROOT, "docs/soak"))
options = parser.parse_args()

with tempfile.TemporaryDirectory() as folder:
    run = os.path.join(folder, "run")
    # Everything that a long run does: streaming metrics, validation, moving average, checkpoints with samples.
    command = [options.binary, "train", "vae", "--data", "digits:12000", "--steps", "1000000000", "--validation", "1000", "--ema", "0.999",
               "--checkpoint-steps", "200", "--out", run]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    begin, samples = time.time(), []
    while time.time() - begin < options.minutes * 60 and process.poll() is None:
        time.sleep(min(5, options.minutes * 6))
        try:
            resident = int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{process.pid}/status").read()).group(1)) / 1024
            last = open(os.path.join(run, "metrics.jsonl")).read().strip().split("\n")[-1]
            samples.append((time.time() - begin, resident, json.loads(last)["step"]))
        except (OSError, AttributeError, ValueError):
            continue
    if process.poll() is not None:
        sys.exit(f"the training ended by itself with status {process.returncode}")
    process.send_signal(signal.SIGINT)
    if process.wait(timeout=300) != 0:
        sys.exit(f"Ctrl-C ended it with status {process.returncode}")

with open(options.out + ".csv", "w") as file:
    file.write("seconds,resident_mib,step\n")
    file.writelines(f"{s:.0f},{m:.1f},{n}\n" for s, m, n in samples)
# What is cached once (pipelines, allocator arenas, the first checkpoint's pictures) is there after the first tenth.
settled = samples[len(samples) // 10:]
half = len(settled) // 2
first, second = [m for _, m, _ in settled[:half]], [m for _, m, _ in settled[half:]]
top = max(m for _, m, _ in samples) * 1.15
points = " ".join(f"{60 + 640 * s / samples[-1][0]:.1f},{220 - 190 * m / top:.1f}" for s, m, _ in samples)
with open(options.out + ".svg", "w") as file:
    file.write(f'''<svg xmlns="http://www.w3.org/2000/svg" width="740" height="260" font-family="sans-serif" font-size="12">
<rect width="740" height="260" fill="white"/><path d="M60 20V220H710" fill="none" stroke="black"/>
<polyline points="{points}" fill="none" stroke="#06c" stroke-width="1.5"/>
<text x="4" y="34">{top:.0f} MiB</text><text x="30" y="224">0</text><text x="620" y="240">{samples[-1][0] / 60:.0f} minutes</text>
<text x="60" y="254">resident memory while training the VAE: {samples[-1][2]} steps, a checkpoint with samples every 200</text></svg>
''')
growth = statistics.median(second) / statistics.median(first) - 1
print(f"{samples[-1][2]} steps in {samples[-1][0] / 60:.1f} minutes; resident {statistics.median(first):.1f} MiB in the first half (after "
      f"a tenth to settle), {statistics.median(second):.1f} in the second: {growth * 100:+.2f} %; most {max(m for _, m, _ in samples):.1f} MiB")
sys.exit(growth > 0.02)
