"""The classifier of noised images in PyTorch, in the layout of guided-diffusion's EncoderUNetModel: `load_state_dict(strict=True)` takes wgen's
files. Written from the description of its layers, not from its code."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


def time_embedding(t, width):
    """[cos, sin] of t times frequencies from 1 to 10000^-(1 - 2 / width)."""
    half = width // 2
    angles = t.double()[:, None] * torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float64) / half)
    return torch.cat([angles.cos(), angles.sin()], 1)


class Residual(nn.Module):
    """`resample` is None, "down" or "up"."""

    def __init__(self, inputs, outputs, time, groups, scale_shift, resample=None, dropout=0.0):
        super().__init__()
        self.scale_shift, self.resample = scale_shift, resample
        self.in_layers = nn.Sequential(nn.GroupNorm(groups, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, outputs * (2 if scale_shift else 1)))
        self.out_layers = nn.Sequential(nn.GroupNorm(groups, outputs), nn.SiLU(), nn.Dropout(dropout),
                                        nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x, emb):
        h = self.in_layers[1](self.in_layers[0](x))
        if self.resample:
            size = {"down": lambda v: F.avg_pool2d(v, 2), "up": lambda v: F.interpolate(v, scale_factor=2, mode="nearest")}[self.resample]
            h, x = size(h), size(x)
        h = self.in_layers[2](h)
        emb = self.emb_layers(emb)[:, :, None, None]
        if self.scale_shift:
            scale, shift = emb.chunk(2, 1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + emb)
        return self.skip_connection(x) + h


def attend(qkv, head, by_head):
    """Of [batch, 3 channels, tokens], rows head by head (q, k, v of a head together) or queries first."""
    batch, rows, tokens = qkv.shape
    heads = rows // 3 // head
    if by_head:
        q, k, v = qkv.reshape(batch, heads, 3, head, tokens).unbind(2)
    else:
        q, k, v = qkv.reshape(batch, 3, heads, head, tokens).unbind(1)
    weight = torch.softmax(torch.einsum("bhcq,bhck->bhqk", q, k) / math.sqrt(head), -1)
    return torch.einsum("bhqk,bhck->bhcq", weight, v).reshape(batch, heads * head, tokens)


class Attention(nn.Module):
    def __init__(self, channels, head, groups, by_head):
        super().__init__()
        self.head, self.by_head = head, by_head
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x, emb):
        flat = x.flatten(2)
        h = self.proj_out(attend(self.qkv(self.norm(flat)), self.head, self.by_head))
        return (flat + h).reshape(x.shape)


class Down(nn.Module):
    def __init__(self, channels, conv):
        super().__init__()
        if conv:
            self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.conv = conv

    def forward(self, x, emb):
        return self.op(x) if self.conv else F.avg_pool2d(x, 2)


class Plain(nn.Conv2d):
    def forward(self, x, emb):
        return super().forward(x)


class AttentionPool(nn.Module):
    def __init__(self, pixels, channels, head, classes):
        super().__init__()
        self.head = head
        self.positional_embedding = nn.Parameter(torch.randn(channels, pixels + 1) / channels ** 0.5)
        self.qkv_proj, self.c_proj = nn.Conv1d(channels, 3 * channels, 1), nn.Conv1d(channels, classes, 1)

    def forward(self, x):
        x = x.flatten(2)
        x = torch.cat([x.mean(-1, keepdim=True), x], -1) + self.positional_embedding
        return self.c_proj(attend(self.qkv_proj(x), self.head, False))[:, :, 0]


class Half(nn.Module):
    """The embedding of time, and of `classes`, the way down and the middle, from images of `inputs` channels. Keeps what the way up is built from."""

    def __init__(self, inputs, model_channels, channel_mult, num_res_blocks, attention_resolutions, num_head_channels, num_heads,
                 use_scale_shift_norm, resblock_updown, conv_resample, use_new_attention_order, groups, dropout, classes=None):
        super().__init__()
        self.model_channels = model_channels
        time = 4 * model_channels
        self.residual = lambda a, b, resample=None: Residual(a, b, time, groups, use_scale_shift_norm, resample, dropout)
        head = lambda channels: num_head_channels or channels // num_heads
        self.attention = lambda channels: Attention(channels, head(channels), groups, not use_new_attention_order)
        self.time_embed = nn.Sequential(nn.Linear(model_channels, time), nn.SiLU(), nn.Linear(time, time))
        if classes:
            self.label_emb = nn.Embedding(classes, time)
        before = int(channel_mult[0] * model_channels)
        self.input_blocks = nn.ModuleList([nn.ModuleList([Plain(inputs, before, 3, padding=1)])])
        self.widths, self.ds = [before], 1
        for level, mult in enumerate(channel_mult):
            own = int(mult * model_channels)
            for _ in range(num_res_blocks):
                entry = [self.residual(before, own)]
                if self.ds in attention_resolutions:
                    entry.append(self.attention(own))
                self.input_blocks.append(nn.ModuleList(entry))
                self.widths.append(own)
                before = own
            if level < len(channel_mult) - 1:
                halving = self.residual(own, own, "down") if resblock_updown else Down(own, conv_resample)
                self.input_blocks.append(nn.ModuleList([halving]))
                self.widths.append(own)
                self.ds *= 2
        self.middle_block = nn.ModuleList([self.residual(before, before), self.attention(before), self.residual(before, before)])


class EncoderUNet(Half):
    """`image` is (channels, height, width)."""

    def __init__(self, image, classes, model_channels=32, channel_mult=(1, 2, 2), num_res_blocks=1, attention_resolutions=(),
                 num_head_channels=32, num_heads=1, use_scale_shift_norm=True, resblock_updown=True, conv_resample=True,
                 use_new_attention_order=False, groups=32, dropout=0.0, pool="attention"):
        super().__init__(image[0], model_channels, channel_mult, num_res_blocks, attention_resolutions, num_head_channels, num_heads,
                         use_scale_shift_norm, resblock_updown, conv_resample, use_new_attention_order, groups, dropout)
        self.pool = pool
        before, ds = self.widths[-1], self.ds
        features = sum(self.widths) + before
        if pool == "attention":
            pooled = AttentionPool(image[1] // ds * (image[2] // ds), before, num_head_channels, classes)
            self.out = nn.Sequential(nn.GroupNorm(groups, before), nn.SiLU(), pooled)
        elif pool == "adaptive":
            self.out = nn.Sequential(nn.GroupNorm(groups, before), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(before, classes, 1), nn.Flatten())
        elif pool == "spatial":
            self.out = nn.Sequential(nn.Linear(features, 2048), nn.ReLU(), nn.Linear(2048, classes))
        else:
            self.out = nn.Sequential(nn.Linear(features, 2048), nn.GroupNorm(groups, 2048), nn.SiLU(), nn.Linear(2048, classes))

    def forward(self, x, t):
        emb = self.time_embed(time_embedding(t, self.model_channels).to(x.dtype))
        means = []
        for entry in [*self.input_blocks, self.middle_block]:
            for layer in entry:
                x = layer(x, emb)
            means.append(x.mean((2, 3)))
        return self.out(torch.cat(means, 1) if self.pool.startswith("spatial") else x)
