"""nerf-pytorch's model in PyTorch: the names, the order and the shapes of its state dicts, and how it renders.

`scripts/exchange_nerf.py` takes weights both ways with it, `tests/golden/nerf_models.py` its gradients. `config` is the "model" part of a run's
config.json. Rays are (origin, direction) [R, 3]; directions are not of unit length.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


def encode(x, octaves):
    """x, sin x, cos x, sin 2x, cos 2x, ..: 3 + 6 octaves columns; without octaves x alone."""
    parts = [x]
    for k in range(octaves or 0):
        parts += [torch.sin(x * 2.0**k), torch.cos(x * 2.0**k)]
    return torch.cat(parts, -1)


def encoded_width(octaves):
    return 3 + 6 * (octaves or 0)


class NeRF(nn.Module):
    """A perceptron over encoded points. Behind the layers of `skips` the points come in again, before what the layers found."""

    def __init__(self, depth=8, width=256, points=63, views=27, outputs=4, skips=(4,), use_viewdirs=True):
        super().__init__()
        self.skips, self.use_viewdirs = tuple(skips), use_viewdirs
        inputs = [points] + [width + points if i in self.skips else width for i in range(depth - 1)]
        self.pts_linears = nn.ModuleList(nn.Linear(n, width) for n in inputs)
        # In files even where colours do not depend on the direction.
        self.views_linears = nn.ModuleList([nn.Linear(views + width, width // 2)])
        if use_viewdirs:
            self.feature_linear = nn.Linear(width, width)
            self.alpha_linear = nn.Linear(width, 1)
            self.rgb_linear = nn.Linear(width // 2, 3)
        else:
            self.output_linear = nn.Linear(width, outputs)
        # Where it is a list, how close to the kink of a relu a number came is put there.
        self.closest = None

    def relu(self, x):
        if self.closest is not None:
            self.closest.append(x.detach().abs().min().item())
        return F.relu(x)

    def forward(self, points, views):
        """Encoded points and directions [n, .]: red, green, blue, density [n, 4], before sigmoid and relu."""
        h = points
        for i, layer in enumerate(self.pts_linears):
            h = self.relu(layer(h))
            if i in self.skips:
                h = torch.cat([points, h], -1)
        if not self.use_viewdirs:
            return self.output_linear(h)[..., :4]
        seen = torch.cat([self.feature_linear(h), views], -1)
        colour = self.rgb_linear(self.relu(self.views_linears[0](seen)))
        return torch.cat([colour, self.alpha_linear(h)], -1)


def networks(config):
    """Coarse and fine, or the coarse one alone."""
    def network():
        return NeRF(config["depth"], config["width"], encoded_width(config["point_octaves"]), encoded_width(config["direction_octaves"]),
                    5 if config["fine"] else 4, config["skips"], config["view_directions"])
    return [network()] + ([network()] if config["fine"] else [])


def rays(pose, camera, x, y):
    """Of columns and lines [n] of a view: `pose` [3, 4] or one each [n, 3, 4], from the camera to the world, OpenGL's axes."""
    right = (x + camera["pixel_offset"] - camera["cx"]) / camera["fx"]
    up = -(y + camera["pixel_offset"] - camera["cy"]) / camera["fy"]
    direction = torch.stack([right, up, -torch.ones_like(right)], -1)
    origin = pose[..., 3].expand(direction.shape)
    return origin, (pose[..., :3] * direction[:, None, :]).sum(-1)


def ndc(origin, direction, camera, near=1.0):
    """Rays in normalised device coordinates: of scenes that all cameras look at in one direction."""
    origin = origin - ((near + origin[:, 2:]) / direction[:, 2:]) * direction
    a = origin.new_tensor([-2 * camera["fx"] / camera["width"], -2 * camera["fy"] / camera["height"]])
    o, d = origin[:, :2] / origin[:, 2:], direction[:, :2] / direction[:, 2:]
    shift = 2 * near / origin[:, 2:]
    return torch.cat([a * o, 1 + shift], 1), torch.cat([a * (d - o), -shift], 1)


def even_depths(config, like):
    t = torch.linspace(0, 1, config["coarse"], dtype=like.dtype)
    near, far = config["near"], config["far"]
    return 1 / ((1 - t) / near + t / far) if config["inverse_distance"] else near * (1 - t) + far * t


def stratified(config, uniforms):
    """A depth of each cell around the even ones, uniforms [R, N] in [0, 1)."""
    z = even_depths(config, uniforms)
    between = 0.5 * (z[1:] + z[:-1])
    low, high = torch.cat([z[:1], between]), torch.cat([between, z[-1:]])
    return low + (high - low) * uniforms


def sample_pdf(z, weights, uniforms):
    """z [R, N], and between them more where their weights are: all of them in order, [R, N + K]."""
    bins = 0.5 * (z[:, 1:] + z[:, :-1])
    w = weights[:, 1:-1] + 1e-5
    cdf = F.pad(torch.cumsum(w / w.sum(1, keepdim=True), 1), (1, 0))
    above = torch.searchsorted(cdf, uniforms.contiguous(), right=True)
    low, high = (above - 1).clamp(min=0), above.clamp(max=cdf.shape[1] - 1)
    from_, to = cdf.gather(1, low), cdf.gather(1, high)
    width = torch.where(to - from_ < 1e-5, torch.ones_like(to), to - from_)
    first, last = bins.gather(1, low), bins.gather(1, high)
    return torch.cat([z, first + (uniforms - from_) / width * (last - first)], 1).sort(1)[0]


def composite(raw, z, length, noise=0.0):
    """What is seen of raw [R, N, 4] at depths z, of directions of this length [R, 1]: colour [R, 3], opacity [R], depth [R], weights [R, N]."""
    delta = torch.cat([z[:, 1:] - z[:, :-1], torch.full_like(z[:, :1], 1e10)], 1) * length
    alpha = 1 - torch.exp(-F.relu(raw[..., 3] + noise) * delta)
    light = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-10], 1), 1)[:, :-1]
    weights = alpha * light
    colour = (weights[..., None] * torch.sigmoid(raw[..., :3])).sum(1)
    return colour, weights.sum(1), (weights * z).sum(1), weights


def render(models, config, origin, direction, background, draws=None):
    """What each network sees, the last one's last: colour over the background, opacity, depth. `draws`, where things are random, has uniforms
    "stratified" [R, coarse] and "sample_pdf" [R, fine], and noise "raw noise" [R, coarse] and "raw noise, fine" [R, coarse + fine]."""
    draws = draws or {}
    views = encode(direction / direction.norm(dim=1, keepdim=True), config["direction_octaves"])
    if config["ndc"]:
        origin, direction = ndc(origin, direction, config["camera"])
    length = direction.norm(dim=1, keepdim=True)
    if "stratified" in draws:
        z = stratified(config, draws["stratified"])
    else:
        z = even_depths(config, origin).expand(len(origin), -1)

    def see(network, z, noise):
        points = origin[:, None] + direction[:, None] * z[..., None]
        encoded = encode(points.reshape(-1, 3), config["point_octaves"])
        raw = network(encoded, views.repeat_interleave(z.shape[1], 0)).reshape(*z.shape, 4)
        colour, opacity, depth, weights = composite(raw, z, length, noise)
        return colour + (1 - opacity)[:, None] * background, opacity, depth, weights.detach()

    all_ = [see(models[0], z, draws.get("raw noise", 0.0))]
    if len(models) > 1:
        uniforms = draws.get("sample_pdf")
        if uniforms is None:
            uniforms = torch.linspace(0, 1, config["fine"], dtype=z.dtype).expand(len(z), -1)
        z = sample_pdf(z, all_[0][3], uniforms)
        all_.append(see(models[1], z, draws.get("raw noise, fine", 0.0)))
    return all_
