#!/usr/bin/env python3
"""Runs of `wgen train nerf` and nerf-pytorch's checkpoints, both ways, moments included.

    scripts/exchange_nerf.py to-tar RUN 200000.tar
    scripts/exchange_nerf.py from-tar 200000.tar NEW_RUN --config RUN/config.json
    scripts/exchange_nerf.py check RUN [--wgen target/release/wgen] [--steps 20]

A .tar has {global_step, network_fn_state_dict, network_fine_state_dict, optimizer_state_dict}. Where the pixels' offset is not said, nerf-pytorch has
rays through their corners: set "pixel_offset": 0 in the camera of config.json for its weights. `check` renders a view on both sides, of wgen's weights in
PyTorch and of weights that PyTorch trained in wgen, and trains the run and what came back of it from a .tar a little further, which must end in the
same bits. Asked of the colours: 99.9 % of the values within 1e-4, 1e-5 on average. Exit status 1 where that fails. Beside it stands how far PyTorch in f32
is from itself in f64: fields that few rays have seen may have neither.
"""
import argparse
import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import pytorch_nerf as nerf

PREFIXES = ["network_fn.", "network_fine."]


def config_of(file):
    with open(file) as f:
        return json.load(f)


def split(tensors, prefix):
    return {key[len(prefix):]: value for key, value in tensors.items() if key.startswith(prefix)}


def loaded(config, tensors):
    """Networks with the weights of a model.safetensors."""
    networks = nerf.networks(config)
    for prefix, network in zip(PREFIXES, networks):
        network.load_state_dict(split(tensors, prefix), strict=True)
    if sum(len(network.state_dict()) for network in networks) != len(tensors):
        sys.exit(f"tensors of no network: {sorted(tensors)}")
    return networks


def tensors_of(networks):
    return {prefix + key: value.contiguous() for prefix, network in zip(PREFIXES, networks) for key, value in network.state_dict().items()}


def newest(run):
    """The folder of the newest checkpoint, and how many steps it has behind it."""
    with open(os.path.join(run, "checkpoints", "latest")) as f:
        step = int(f.read())
    return os.path.join(run, "checkpoints", str(step)), step


def adam(networks, rule):
    """As nerf-pytorch makes it: the coarse network's parameters, then the fine one's."""
    parameters = [p for network in networks for p in network.parameters()]
    return torch.optim.Adam(parameters, rule["learning_rate"], (rule["beta1"], rule["beta2"]), rule["epsilon"])


def names(networks):
    return [prefix + key for prefix, network in zip(PREFIXES, networks) for key, _ in network.named_parameters()]


def to_tar(run, file):
    config = config_of(os.path.join(run, "config.json"))
    folder, step = newest(run)
    networks = loaded(config["model"], load_file(os.path.join(folder, "model.safetensors")))
    moments = load_file(os.path.join(folder, "optimizer.safetensors"))
    optimizer = adam(networks, rule_of(config))
    state = optimizer.state_dict()
    # What never had a gradient has no moments there, and zeros here; `step` is the number of updates.
    state["state"] = {i: {"step": torch.tensor(float(step)), "exp_avg": moments["moment1." + name], "exp_avg_sq": moments["moment2." + name]}
                      for i, name in enumerate(names(networks)) if moments["moment2." + name].any()}
    optimizer.load_state_dict(state)
    # nerf-pytorch counts a step after it has saved.
    out = {"global_step": step - 1, "network_fn_state_dict": networks[0].state_dict(),
           "network_fine_state_dict": networks[1].state_dict() if len(networks) > 1 else None, "optimizer_state_dict": optimizer.state_dict()}
    torch.save(out, file)
    return step


def rule_of(config):
    """The optimiser's numbers in a configuration."""
    training = config["training"]
    if training["optimizer"]["rule"] != "adam":
        sys.exit(f"nerf-pytorch has Adam; the run has {training['optimizer']['rule']}")
    return {**training["optimizer"], "learning_rate": training["learning_rate"]["peak"]}


def from_tar(file, run, config_file):
    if os.path.exists(os.path.join(run, "config.json")):
        sys.exit(f"{run}: has a run; name a new folder")
    config = config_of(config_file)
    saved = torch.load(file, map_location="cpu", weights_only=True)
    networks = nerf.networks(config["model"])
    for key, network in zip(["network_fn_state_dict", "network_fine_state_dict"], networks):
        network.load_state_dict(saved[key], strict=True)
    optimizer = adam(networks, rule_of(config))
    optimizer.load_state_dict(saved["optimizer_state_dict"])
    parameters = [p for network in networks for p in network.parameters()]
    steps = [int(state["step"]) for state in optimizer.state.values()]
    # Older ones have no moments of what was never trained.
    step = max(steps, default=saved["global_step"] + 1)
    moments = {}
    for name, p in zip(names(networks), parameters):
        state = optimizer.state.get(p, {})
        moments["moment1." + name] = state.get("exp_avg", torch.zeros_like(p)).detach().contiguous()
        moments["moment2." + name] = state.get("exp_avg_sq", torch.zeros_like(p)).detach().contiguous()
    folder = os.path.join(run, "checkpoints", str(step))
    os.makedirs(folder)
    shutil.copy(config_file, os.path.join(run, "config.json"))
    for place in [run, folder]:
        save_file(tensors_of(networks), os.path.join(place, "model.safetensors"))
    save_file(moments, os.path.join(folder, "optimizer.safetensors"))
    progress = {"step": step, "best": None, "since_best": 0, "variants": [], "device": f"PyTorch {torch.__version__}"}
    with open(os.path.join(folder, "progress.json"), "w") as f:
        json.dump(progress, f)
    with open(os.path.join(run, "checkpoints", "latest"), "w") as f:
        f.write(str(step))
    return step


def pose():
    """A view from nerf-pytorch's orbit at 30 degrees, 30 down, 4 away: [3, 4]."""
    return torch.tensor([[-0.8660254037844387, -0.25, 0.4330127018922193, 1.7320508075688774], [0.5, -0.4330127018922193, 0.75, 3.0],
                         [0.0, 0.8660254037844387, 0.5, 2.0]])


def ours(wgen, run):
    with tempfile.TemporaryDirectory() as work:
        with open(os.path.join(work, "path.json"), "w") as f:
            json.dump([[*pose().tolist(), [0.0, 0.0, 0.0, 1.0]]], f)
        subprocess.run([*wgen, "-q", "render", run, "--path", f"{work}/path.json", "--out", f"{work}/out", "--what", "colour,depth,opacity", "--npy"],
                       check=True)
        return {what: torch.from_numpy(np.load(f"{work}/out/{what}_0000.npy")) for what in ("colour", "opacity", "depth")}


def background_of(config):
    return torch.zeros(3) if config["background"] == "black" else torch.ones(3)


def around(count):
    """Cameras 4 from the origin, which they look at, anywhere above: [n, 3, 4]."""
    back = torch.randn(count, 3)
    back[:, 2] = back[:, 2].abs()
    back = torch.nn.functional.normalize(back, dim=1)
    right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([[0.0, 0.0, 1.0]]).expand(count, 3), back), dim=1)
    return torch.stack([right, torch.linalg.cross(back, right), back, 4 * back], 2)


def trained(run, teachers):
    """Networks that PyTorch drew and trained for 200 steps on what the run's see from all sides, and their optimiser."""
    torch.manual_seed(11)
    model, background = run["model"], background_of(run["model"])
    camera = model["camera"]
    networks = nerf.networks(model)
    with torch.no_grad():
        for network in networks:
            # Something is seen from the first step on.
            last = network.alpha_linear.bias if model["view_directions"] else network.output_linear.bias
            last[-1 if model["view_directions"] else 3] += 0.5
    optimizer = adam(networks, rule_of(run))
    for _ in range(200):
        x, y = torch.randint(0, camera["width"], (256,)).float(), torch.randint(0, camera["height"], (256,)).float()
        rays = nerf.rays(around(256), camera, x, y)
        with torch.no_grad():
            target = nerf.render(teachers, model, *rays, background)[-1][0]
        draws = {"stratified": torch.rand(256, model["coarse"]), "sample_pdf": torch.rand(256, model["fine"])}
        seen = nerf.render(networks, model, *rays, background, draws)
        loss = sum((colour - target).square().mean() for colour, *_ in seen)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return networks, optimizer


def both(networks, config):
    """In f32, and in f64: what is further apart in these than asked, no f32 gives."""
    single = theirs(networks, config, torch.float32)
    double = theirs([copy.deepcopy(network).double() for network in networks], config, torch.float64)
    return single, double


@torch.no_grad()
def theirs(networks, config, dtype):
    camera = config["camera"]
    y, x = torch.meshgrid(torch.arange(camera["height"]).to(dtype), torch.arange(camera["width"]).to(dtype), indexing="ij")
    background = background_of(config).to(dtype)
    parts = []
    for x, y in zip(x.reshape(-1).split(1024), y.reshape(-1).split(1024)):
        colour, opacity, depth, _ = nerf.render(networks, config, *nerf.rays(pose().to(dtype), camera, x, y), background)[-1]
        parts.append((colour, opacity, depth / opacity.clamp(min=1e-10)))
    shape = [camera["height"], camera["width"]]
    colour, opacity, depth = (torch.cat(p) for p in zip(*parts))
    return {"colour": colour.reshape(*shape, 3), "opacity": opacity.reshape(shape), "depth": depth.reshape(shape)}


def compare(title, ours, single, double):
    passed = True
    for what, expected in double.items():
        def figures(a, b):
            difference = (a.double() - b.double()).abs()
            within, mean = (difference <= 1e-4).double().mean().item(), difference.mean().item()
            return within, mean, f"{100 * within:.3f} % within 1e-4, mean {mean:.1e}, largest {difference.max().item():.1e}"
        print(f"{title}: {what} {tuple(expected.shape)}, from {expected.min():.3f} to {expected.max():.3f}")
        within, mean, text = figures(ours[what], single[what])
        print(f"    wgen and PyTorch:       {text}")
        *_, text = figures(ours[what], double[what])
        print(f"    wgen and PyTorch f64:   {text}")
        *_, text = figures(single[what], double[what])
        print(f"    PyTorch and its f64:    {text}")
        # Asked of colours. Depths are in the scene's units, and of what is hardly seen not defined.
        if what == "colour":
            passed &= within >= 0.999 and mean <= 1e-5
    return passed


def further(wgen, run, more):
    """The weights of a copy of the run after more steps."""
    with tempfile.TemporaryDirectory() as work:
        other = os.path.join(work, "run")
        shutil.copytree(run, other, ignore=shutil.ignore_patterns(".lock"))
        data, to = config_of(os.path.join(other, "config.json"))["data"], newest(other)[1] + more
        subprocess.run([*wgen, "-q", "train", "nerf", "--resume", "--data", data, "--out", other, "--steps", str(to)], check=True)
        return load_file(os.path.join(other, "model.safetensors"))


def check(run, wgen, more):
    config = config_of(os.path.join(run, "config.json"))["model"]
    networks = loaded(config, load_file(os.path.join(run, "model.safetensors")))
    passed = compare("wgen's in PyTorch", ours(wgen, run), *both(networks, config))
    with tempfile.TemporaryDirectory() as work:
        drawn, optimizer = trained(config_of(os.path.join(run, "config.json")), networks)
        # As nerf-pytorch saves after its first 200 steps.
        torch.save({"global_step": 199, "network_fn_state_dict": drawn[0].state_dict(),
                    "network_fine_state_dict": drawn[1].state_dict() if len(drawn) > 1 else None,
                    "optimizer_state_dict": optimizer.state_dict()}, f"{work}/drawn.tar")
        from_tar(f"{work}/drawn.tar", f"{work}/drawn", os.path.join(run, "config.json"))
        passed &= compare("PyTorch's in wgen", ours(wgen, f"{work}/drawn"), *both(drawn, config))

        step = to_tar(run, f"{work}/{newest(run)[1]:06d}.tar")
        from_tar(f"{work}/{step:06d}.tar", f"{work}/back", os.path.join(run, "config.json"))
        same = True
        for file in ("model.safetensors", "optimizer.safetensors"):
            a, b = (load_file(os.path.join(newest(r)[0], file)) for r in (run, f"{work}/back"))
            same &= a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
        print(f"weights and moments of step {step} through a .tar and back: {'the same bits' if same else 'DIFFERENT'}")
        if more:
            a, b = further(wgen, run, more), further(wgen, f"{work}/back", more)
            on = all(torch.equal(a[k], b[k]) for k in a)
            before = load_file(os.path.join(run, "model.safetensors"))
            moved = any(not torch.equal(a[k], before[k]) for k in a)
            print(f"{more} steps further from both: {'the same bits' if on and moved else 'DIFFERENT'}")
            same &= on and moved
    return passed and same


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("to-tar")
    command.add_argument("run")
    command.add_argument("file")
    command = commands.add_parser("from-tar")
    command.add_argument("file")
    command.add_argument("run")
    command.add_argument("--config", required=True, help="the config.json of a run with the same networks")
    command = commands.add_parser("check")
    command.add_argument("run")
    command.add_argument("--wgen", default="target/release/wgen")
    command.add_argument("--device", default="auto")
    command.add_argument("--steps", type=int, default=20, help="by which run and copy are trained further; 0 for none")
    arguments = parser.parse_args()
    if arguments.command == "to-tar":
        print(f"{arguments.file}: step {to_tar(arguments.run, arguments.file)}")
    elif arguments.command == "from-tar":
        print(f"{arguments.run}: step {from_tar(arguments.file, arguments.run, arguments.config)}")
    else:
        sys.exit(0 if check(arguments.run, [arguments.wgen, "--device", arguments.device], arguments.steps) else 1)


if __name__ == "__main__":
    main()
