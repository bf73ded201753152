#!/usr/bin/env python3
"""Golden tensors of the image operators: convolutions, normalisation, pooling, resizing. See generate.py; run in the same way.

Images are stored as they lie on the device, [batch, height, width, channels], weights as [out, height, width, in / groups]: PyTorch computes
on its own layout, and the axes are moved here. What a case is stands in its `options`.
"""
import itertools
import os

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(20261123)
torch.set_num_threads(1)


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64)


def last(x):
    """[batch, channels, height, width] with the channels last."""
    return x.detach().permute(0, 2, 3, 1).contiguous()


def convolutions(out):
    count = 0

    def case(transposed, batch, channels, outs, image, kernel, stride, padding, dilation, groups, output_padding=(0, 0)):
        nonlocal count
        x = normal(batch, channels, *image).requires_grad_()
        shape = (channels, outs // groups) if transposed else (outs, channels // groups)
        w = normal(*shape, *kernel).requires_grad_()
        b = normal(outs).requires_grad_()
        if transposed:
            y = F.conv_transpose2d(x, w, b, stride, padding, output_padding, groups, dilation)
        else:
            y = F.conv2d(x, w, b, stride, padding, dilation, groups)
        g = normal(*y.shape)
        y.backward(g)
        name = f"conv{count:02d}"
        count += 1
        numbers = [int(transposed), *stride, *padding, *dilation, groups, *output_padding]
        out[f"{name}/options"] = torch.tensor(numbers, dtype=torch.int32)
        for key, tensor in {"x0": x, "x1": w, "y": y, "g": g, "d0": x.grad, "d1": w.grad}.items():
            out[f"{name}/{key}"] = last(tensor)
        out[f"{name}/x2"] = b.detach()
        out[f"{name}/d2"] = b.grad

    kernels = [((3, 3), (1, 1)), ((4, 4), (1, 1)), ((2, 3), (0, 1)), ((1, 1), (0, 0)), ((5, 2), (2, 0))]
    for (kernel, padding), stride, dilation in itertools.product(kernels, [(1, 1), (2, 2), (3, 1)], [(1, 1), (2, 1)]):
        case(False, 2, 3, 4, (9, 8), kernel, stride, padding, dilation, 1)
    for groups, stride in itertools.product([2, 4], [(1, 1), (2, 1)]):
        case(False, 1, 4, 8, (7, 6), (3, 3), stride, (1, 1), (1, 1), groups)
        case(False, 1, 4, 4, (7, 6), (3, 2), stride, (0, 1), (2, 2), groups)
    case(False, 2, 1, 4, (5, 5), (5, 5), (1, 1), (0, 0), (1, 1), 1)
    case(False, 2, 6, 1, (6, 7), (3, 3), (2, 2), (1, 1), (1, 1), 1)
    case(False, 2, 8, 2, (6, 5), (3, 3), (1, 1), (1, 1), (1, 1), 1)
    for (kernel, padding), stride in itertools.product([((4, 4), (1, 1)), ((3, 3), (1, 1)), ((3, 2), (0, 1))], [(1, 1), (2, 2), (3, 2)]):
        for output_padding in [(0, 0), (1, 1)]:
            if max(output_padding) < min(stride):
                case(True, 2, 3, 4, (4, 5), kernel, stride, padding, (1, 1), 1, output_padding)
    case(True, 2, 4, 6, (4, 3), (3, 3), (2, 2), (1, 1), (2, 2), 2, (1, 1))
    case(True, 1, 4, 4, (3, 4), (4, 4), (2, 2), (1, 1), (1, 1), 4)
    case(True, 3, 5, 4, (1, 1), (4, 4), (1, 1), (0, 0), (1, 1), 1)
    case(True, 2, 8, 1, (5, 4), (4, 4), (2, 2), (1, 1), (1, 1), 1)
    return count


def others(out):
    def case(name, y, inputs, image_inputs):
        g = normal(*y.shape)
        y.backward(g)
        move = lambda t: last(t) if t.dim() == 4 and image_inputs else t.detach().contiguous()
        for i, x in enumerate(inputs):
            out[f"{name}/x{i}"] = move(x)
            out[f"{name}/d{i}"] = move(x.grad)
        out[f"{name}/y"], out[f"{name}/g"] = move(y), move(g)

    def leaf(*shape):
        return normal(*shape).requires_grad_()

    x = leaf(2, 4, 7, 6)
    case("max_pool_2_2_0", F.max_pool2d(x, 2, 2), [x], True)
    x = leaf(2, 3, 7, 9)
    case("max_pool_3_2_1", F.max_pool2d(x, 3, 2, 1), [x], True)
    x = leaf(2, 4, 7, 6)
    case("avg_pool_2_2_0", F.avg_pool2d(x, 2, 2), [x], True)
    x = leaf(2, 3, 7, 9)
    case("avg_pool_3_2_1", F.avg_pool2d(x, 3, 2, 1), [x], True)
    for mode, size in itertools.product(["nearest", "bilinear"], [(8, 10), (5, 3), (13, 4)]):
        x = leaf(2, 3, 4, 5)
        case(f"resize_{mode}_{size[0]}_{size[1]}", F.interpolate(x, size=size, mode=mode), [x], True)
    x = leaf(2, 8, 3, 4)
    case("pixel_shuffle_2", F.pixel_shuffle(x, 2), [x], True)
    x, gain, bias = leaf(5, 12), leaf(12), leaf(12)
    case("layer_norm", F.layer_norm(x, [12], gain, bias, 1e-5), [x, gain, bias], False)
    x, gain, bias = leaf(3, 4, 5, 6), leaf(4), leaf(4)
    case("batch_norm", F.batch_norm(x, None, None, gain, bias, True, 0.1, 1e-5), [x, gain, bias], True)
    x = leaf(5, 7)
    case("softmax", F.softmax(x, 1), [x], False)
    x = leaf(5, 7)
    case("log_softmax", F.log_softmax(x, 1), [x], False)
    x = leaf(5, 7)
    labels = torch.tensor([0, 6, 3, 3, 1])
    out["cross_entropy/labels"] = F.one_hot(labels, 7).double()
    case("cross_entropy", F.cross_entropy(x, labels, reduction="none"), [x], False)
    x = leaf(4, 9)
    top = torch.topk(x, 3, 1)
    kept = torch.zeros_like(x).scatter(1, top.indices, 1.0) * x
    case("keep_top_k", kept, [x], False)
    out["keep_top_k/indices"] = top.indices.to(torch.int32)


def running_statistics(out):
    """Twenty steps of batch normalisation in training, and its value in evaluation after them."""
    norm = torch.nn.BatchNorm2d(4).double()
    with torch.no_grad():
        norm.weight.copy_(normal(4))
        norm.bias.copy_(normal(4))
    xs = normal(20, 3, 4, 2, 3) * 2 + 1
    means, variances = [], []
    for x in xs:
        norm(x)
        means.append(norm.running_mean.clone())
        variances.append(norm.running_var.clone())
    norm.eval()
    out["running/x"] = xs.permute(0, 1, 3, 4, 2).contiguous()
    out["running/weight"], out["running/bias"] = norm.weight.detach(), norm.bias.detach()
    out["running/mean"], out["running/variance"] = torch.stack(means), torch.stack(variances)
    out["running/y"] = last(norm(xs[0]))


def quantiles(out):
    def case(name, x, ratio, ties=False):
        y = torch.quantile(x, ratio, dim=-1)
        g = normal(*y.shape)
        y.backward(g)
        out[f"{name}/x0"], out[f"{name}/y"], out[f"{name}/g"] = x.detach(), y.detach(), g
        # Among equals PyTorch's gradient goes to one, ours to all in equal shares.
        if not ties:
            out[f"{name}/d0"] = x.grad

    case("quantile_37", normal(4, 9).requires_grad_(), 0.37)
    case("quantile_995", normal(2, 3, 50).requires_grad_(), 0.995)
    case("quantile_most", normal(5, 1).requires_grad_(), 1.0)
    case("quantile_ties", (normal(4, 12).round() / 2).requires_grad_(), 0.25, True)


def main():
    out = {}
    count = convolutions(out)
    others(out)
    running_statistics(out)
    quantiles(out)
    save_file(out, os.path.join(HERE, "images.safetensors"))
    print(count, "convolutions")


if __name__ == "__main__":
    main()
