"""The U-Net and the super-resolution of guided-diffusion in PyTorch, in the layout of its UNetModel and SuperResModel:
`load_state_dict(strict=True)` takes wgen's files. Written from the description of its layers, not from its code."""
import torch
import torch.nn as nn
import torch.nn.functional as F

from pytorch_noised_classifier import Half, time_embedding


class Up(nn.Module):
    def __init__(self, channels, conv):
        super().__init__()
        if conv:
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.has_conv = conv

    def forward(self, x, emb):
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return self.conv(x) if self.has_conv else x


class UNet(Half):
    """`image` is (channels, height, width); with `low_res` (height, width) a smaller image lies beside x."""

    def __init__(self, image, out_channels=None, num_classes=None, low_res=None, model_channels=32, channel_mult=(1, 2, 2), num_res_blocks=1,
                 attention_resolutions=(), num_head_channels=32, num_heads=1, use_scale_shift_norm=True, resblock_updown=True,
                 conv_resample=True, use_new_attention_order=False, groups=32, dropout=0.0):
        inputs = image[0] * (2 if low_res else 1)
        super().__init__(inputs, model_channels, channel_mult, num_res_blocks, attention_resolutions, num_head_channels, num_heads,
                         use_scale_shift_norm, resblock_updown, conv_resample, use_new_attention_order, groups, dropout, num_classes)
        first, before, ds, widths = self.widths[0], self.widths[-1], self.ds, list(self.widths)
        self.output_blocks = nn.ModuleList()
        for level, mult in reversed(list(enumerate(channel_mult))):
            own = int(mult * model_channels)
            for i in range(num_res_blocks + 1):
                entry = [self.residual(before + widths.pop(), own)]
                if ds in attention_resolutions:
                    entry.append(self.attention(own))
                before = own
                if level and i == num_res_blocks:
                    entry.append(self.residual(own, own, "up") if resblock_updown else Up(own, conv_resample))
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
