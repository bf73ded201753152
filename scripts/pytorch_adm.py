"""The U-Net and the super-resolution of guided-diffusion in PyTorch, in the layout of its UNetModel and SuperResModel:
`load_state_dict(strict=True)` takes wgen's files. Written from the description of its layers, not from its code."""
import torch
import torch.nn as nn
import torch.nn.functional as F

from pytorch_noised_classifier import Attention, Down, Plain, Residual, time_embedding


class UpResidual(Residual):
    """A residual block that doubles the image first."""

    def forward(self, x, emb):
        double = lambda v: F.interpolate(v, scale_factor=2, mode="nearest")
        h = double(self.in_layers[1](self.in_layers[0](x)))
        h = self.in_layers[2](h)
        emb = self.emb_layers(emb)[:, :, None, None]
        if self.scale_shift:
            scale, shift = emb.chunk(2, 1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + emb)
        return self.skip_connection(double(x)) + h


class Up(nn.Module):
    def __init__(self, channels, conv):
        super().__init__()
        if conv:
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.has_conv = conv

    def forward(self, x, emb):
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return self.conv(x) if self.has_conv else x


class UNet(nn.Module):
    """`image` is (channels, height, width); with `low_res` (height, width) a smaller image lies beside x."""

    def __init__(self, image, out_channels=None, num_classes=None, low_res=None, model_channels=32, channel_mult=(1, 2, 2), num_res_blocks=1,
                 attention_resolutions=(), num_head_channels=32, num_heads=1, use_scale_shift_norm=True, resblock_updown=True,
                 conv_resample=True, use_new_attention_order=False, groups=32, dropout=0.0):
        super().__init__()
        self.model_channels, self.low_res = model_channels, low_res
        time = 4 * model_channels
        residual = lambda a, b, kind=Residual, down=False: kind(a, b, time, groups, use_scale_shift_norm, down, dropout)
        head = lambda channels: num_head_channels or channels // num_heads
        attention = lambda channels: Attention(channels, head(channels), groups, not use_new_attention_order)
        self.time_embed = nn.Sequential(nn.Linear(model_channels, time), nn.SiLU(), nn.Linear(time, time))
        if num_classes:
            self.label_emb = nn.Embedding(num_classes, time)
        before = first = int(channel_mult[0] * model_channels)
        inputs = image[0] * (2 if low_res else 1)
        self.input_blocks = nn.ModuleList([nn.ModuleList([Plain(inputs, before, 3, padding=1)])])
        widths, ds = [before], 1
        for level, mult in enumerate(channel_mult):
            own = int(mult * model_channels)
            for _ in range(num_res_blocks):
                entry = [residual(before, own)]
                if ds in attention_resolutions:
                    entry.append(attention(own))
                self.input_blocks.append(nn.ModuleList(entry))
                widths.append(own)
                before = own
            if level < len(channel_mult) - 1:
                self.input_blocks.append(nn.ModuleList([residual(own, own, down=True) if resblock_updown else Down(own, conv_resample)]))
                widths.append(own)
                ds *= 2
        self.middle_block = nn.ModuleList([residual(before, before), attention(before), residual(before, before)])
        self.output_blocks = nn.ModuleList()
        for level, mult in reversed(list(enumerate(channel_mult))):
            own = int(mult * model_channels)
            for i in range(num_res_blocks + 1):
                entry = [residual(before + widths.pop(), own)]
                if ds in attention_resolutions:
                    entry.append(attention(own))
                before = own
                if level and i == num_res_blocks:
                    entry.append(residual(own, own, UpResidual) if resblock_updown else Up(own, conv_resample))
                    ds //= 2
                self.output_blocks.append(nn.ModuleList(entry))
        self.out = nn.Sequential(nn.GroupNorm(groups, before), nn.SiLU(), nn.Conv2d(first, out_channels or image[0], 3, padding=1))

    def forward(self, x, t, y=None, low_res=None):
        emb = self.time_embed(time_embedding(t, self.model_channels).to(x.dtype))
        if y is not None:
            emb = emb + self.label_emb(y)
        if low_res is not None:
            x = torch.cat([x, F.interpolate(low_res, x.shape[2:], mode="bilinear")], 1)
        kept = []
        for entry in self.input_blocks:
            for layer in entry:
                x = layer(x, emb)
            kept.append(x)
        for layer in self.middle_block:
            x = layer(x, emb)
        for entry in self.output_blocks:
            x = torch.cat([x, kept.pop()], 1)
            for layer in entry:
                x = layer(x, emb)
        return self.out(x)
