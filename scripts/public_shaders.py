#!/usr/bin/env python3
"""Compute shaders that others have published, as they are, through `wgen sanitize`: what it says of WGSL that nobody here wrote.

    scripts/public_shaders.py [--bin target/release/wgen] [--only TEXT ..] [--shuffles 2] [--timeout 300] [--keep FOLDER] [--list]

The crates are taken out of cargo's registry (~/.cargo/registry/src); one that is not there is downloaded by `cargo info`. Shaders are prepared as their crates do it, by
preprocessing, imports and constants in front; what WGSL has renamed since is renamed, and nothing is mended. Texts and inputs go to a temporary folder (--keep: to that one, to
run them again by hand). Each is run on what its crate would bind: counts, offsets and indices that are valid, small scenes and matrices, buffers of the crate's sizes; what the
crate leaves unwritten before the dispatch has no tensor.

--only: cases whose crate, path or entry contains one of the texts.

Needs numpy and safetensors. Prints a table. Findings are what is looked for and no failure: ends with status 1 only where wgen itself failed, that is where it ended neither with 0
nor with 1, took longer than --timeout, or refused a shader.
"""
import argparse
import glob
import json
import os
import re
import subprocess
import sys
import tempfile
import time

import numpy as np
from safetensors.numpy import save_file

VERSIONS = {
    "wgpu_sort": "0.1.0",
    "forma-render": "0.1.3",
    "vello_shaders": "0.11.0",
    "web-rwkv": "0.10.20",
    "wgml": "0.2.0",
    "wgebra": "0.2.0",
    "bevy_hanabi": "0.19.0",
    "blade-render": "0.6.0",
    "wgpu-core": "30.0.1",
}

rng = np.random.default_rng(1)


def crate(name):
    """The folder of a crate's source, downloaded if need be."""
    pattern = os.path.join(os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo")), f"registry/src/*/{name}-{VERSIONS[name]}")
    if not glob.glob(pattern):
        # Outside of any workspace, whose lock file would choose the version.
        subprocess.run(["cargo", "info", f"{name}@{VERSIONS[name]}"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tempfile.gettempdir())
    return glob.glob(pattern)[0]


def read(name, path):
    with open(os.path.join(crate(name), path), encoding="utf-8") as file:
        return file.read()


# How texts are prepared.


def conditional(text, defined):
    """#ifdef, #ifndef, #else and #endif on lines of their own."""
    lines, active = [], [True]
    for line in text.splitlines():
        word = line.split()
        if word and word[0] in ("#ifdef", "#ifndef"):
            active.append((word[1] in defined) == (word[0] == "#ifdef"))
        elif word and word[0] == "#else":
            active[-1] = not active[-1]
        elif word and word[0] == "#endif":
            active.pop()
        elif all(active):
            lines.append(line)
    return "\n".join(lines) + "\n"


def words(text, values):
    """Words in place of words, as macros do it."""
    return re.sub(r"\b\w+\b", lambda m: values.get(m[0], m[0]), text)


def wgpu_sort(subgroup):
    """GPUSorter::new: constants in front and workgroup sizes in braces."""
    sweep_0 = 256 // subgroup
    sweep_1 = sweep_0 // subgroup
    constants = {
        "histogram_sg_size": subgroup, "histogram_wg_size": 256, "rs_radix_log2": 8, "rs_radix_size": 256, "rs_keyval_size": 4, "rs_histogram_block_rows": 15,
        "rs_scatter_block_rows": 15, "rs_mem_dwords": 256 + 15 * 256, "rs_mem_sweep_0_offset": 0, "rs_mem_sweep_1_offset": sweep_0, "rs_mem_sweep_2_offset": sweep_0 + sweep_1,
    }
    text = "".join(f"const {name}: u32 = {value}u;\n" for name, value in constants.items()) + read("wgpu_sort", "src/radix_sort.wgsl")
    for name, value in (("histogram", 256), ("prefix", 128), ("scatter", 256)):
        text = text.replace("{" + name + "_wg_size}", str(value))
    return text


def forma(path):
    """A template's block sizes; `let` in a module and `write` of a buffer are what WGSL said in 2022 for `const` and `read_write`."""
    text = read("forma-render", path)
    for name, value in (("block_width", 64), ("block_height", 9), ("block_len", 576)):
        text = text.replace("{{" + name + "}}", str(value))
    text = re.sub(r"^let ", "const ", text, flags=re.M).replace("var<storage, write>", "var<storage, read_write>")
    # Nor may a `let` hide a parameter any more.
    return text.replace("fn find(i: i32", "fn find(i_: i32").replace("let i = f32(i);", "let i = f32(i_);")


def vello(name, *defined):
    """#import of shader/shared, and conditions."""

    def imported(text):
        text = conditional(text, defined)
        return re.sub(r"^#import (\w+).*$", lambda m: imported(read("vello_shaders", f"shader/shared/{m[1]}.wgsl")), text, flags=re.M)

    return imported(read("vello_shaders", f"shader/{name}.wgsl"))


ACTIVATIONS = re.compile(r'const ACTIVATION_DEFINE: &str = "(.*?)";', re.S)


def rwkv(name, *defined, **values):
    """Its macros: conditions, then words; numbers have the suffix that the crate gives them."""
    values = {"ACT": "", **{k: f"{v}u" if isinstance(v, int) else str(v) for k, v in values.items()}}
    values["ACTIVATION_DEFINE"] = ACTIVATIONS.search(read("web-rwkv", "src/tensor/ops.rs"))[1]
    text = conditional(read("web-rwkv", f"src/shaders/{name}.wgsl"), {*defined, *values})
    return words(text, values)


def rwkv_subgroup(name, least, most):
    return rwkv(f"subgroup/{name}", f"SUBGROUP_SIZE_{least}_{most}", BLOCK_SIZE=128, MIN_SUBGROUP_SIZE=least, MAX_SUBGROUP_SIZE=most, EPS="0.00001")


def wgmath(name, path):
    """The one module that is imported, `Shape`, in the place of its import."""
    shape = re.sub(r"^#define.*$", "", read("wgebra", "src/linalg/shape.wgsl"), flags=re.M)
    text = re.sub(r"^#import.*$", lambda _: shape, read(name, path), flags=re.M)
    return text.replace("Shape::", "")


def reduction(workspace, reduce, init):
    """wgebra::Reduce redirects three functions."""
    text = wgmath("wgebra", "src/linalg/reduce.wgsl")
    for name, to in (("workspace_placeholder", workspace), ("reduce_placeholder", reduce), ("init_placeholder", init)):
        text = re.sub(rf"\b{name}\b(?=\([^)]*\)(?! ->))", to, text)
    return text


def hanabi(name, *defined):
    """The one module that is imported, with the paddings of a device that aligns to 4 bytes."""
    common = conditional(read("bevy_hanabi", "src/render/vfx_common.wgsl"), defined)
    common = re.sub(r"^#define.*$", "", common, flags=re.M).replace("{{EFFECT_METADATA_STRIDE}}", "60")
    common = re.sub(r"\{\{\w+_PADDING\}\}", "", common)
    text = conditional(read("bevy_hanabi", f"src/render/{name}.wgsl"), defined)
    return re.sub(r"^#import bevy_hanabi::vfx_common::\{.*?\}", lambda _: common, text, flags=re.M | re.S)


def blade(name):
    """#include, constants of the host, and bindings, which blade gives to variables as they come."""
    seen, count = set(), iter(range(100))

    def included(name):
        if name in seen:
            return ""
        seen.add(name)
        text = read("blade-render", f"code/{name}")
        text = text.replace("#use DEBUG_MODE", "const DEBUG_MODE: bool = false;").replace("#use MAX_JOINTS_PER_DRAW", "const MAX_JOINTS_PER_DRAW: u32 = 64u;")
        return re.sub(r'^#include "(.*?)"', lambda m: included(m[1]), text, flags=re.M)

    bind = lambda m: f"@group(0) @binding({next(count)}) {m[0]}"
    return re.sub(r"^var(<(uniform|storage).*?>)? \w+: ?", bind, included(name), flags=re.M)


# What is bound.


def u32(*values):
    return np.concatenate([np.asarray(v, np.int64).reshape(-1).astype(np.uint32) for v in values])


def f32(*shape):
    return rng.uniform(-1, 1, shape).astype(np.float32)


def f16(*shape):
    return rng.uniform(-1, 1, shape).astype(np.float16)


def view(*shape):
    """Of a tensor of web-rwkv that is whole: shape, stride, offset."""
    shape = [*shape, 1, 1, 1][:4]
    return u32(shape, shape, [0, 0, 0, 0])


def vector(n):
    """The shape of a vector of wgmath."""
    return u32([n, 1, n, 0])


def exclusive(values):
    return np.cumsum(values, 0) - values


CASES = []


def case(name, path, text, entry, workgroups, inputs, elements=None, subgroups=None, constants=None, note=""):
    CASES.append({
        "crate": name, "path": path, "text": text, "entry": entry, "workgroups": workgroups, "inputs": inputs, "elements": elements or {}, "subgroups": subgroups,
        "constants": constants or {}, "note": note,
    })


def cases_wgpu_sort(n=5000):
    """5,000 pairs: two workgroups, as the crate dispatches them, each pass on what the one before leaves."""
    blocks = -(-n // 3840)
    padded = blocks * 3840
    keys = np.zeros(4 * padded, np.uint32)
    keys[:n] = rng.integers(0, 1 << 32, n, np.uint32)
    room = 256 * (4 + blocks)
    ready = keys.copy()
    ready[n:padded] = 0xFFFFFFFF
    digits = [(ready[:padded] >> (8 * i)) & 255 for i in range(4)]
    counts = np.zeros(room, np.uint32)
    counts[:1024] = np.concatenate([np.bincount(d, minlength=256) for d in digits])
    prefixes = counts.copy()
    prefixes[:1024] = np.concatenate([exclusive(c) for c in counts[:1024].reshape(4, 256)])
    infos = lambda even, odd: u32([n, padded, even, odd])
    payload = np.arange(n, dtype=np.uint32)
    ranks = np.argsort(digits[0], kind="stable")
    keys_b = np.zeros_like(keys)
    keys_b[:padded] = ready[:padded][ranks]
    payload_b = np.where(ranks < n, ranks, 0)[:n].astype(np.uint32)
    # The first block leaves its inclusive sums, marked with 2; the last one leaves nothing.
    odd = prefixes.copy()
    odd[1024:1280] = (prefixes[:256] + np.bincount(digits[0][:3840], minlength=256)) | (2 << 30)
    path, text = "src/radix_sort.wgsl", lambda: wgpu_sort(32)
    case("wgpu_sort", path, text, "zero_histograms", (blocks, 1, 1), {"infos": infos(0, 0), "keys": keys}, {"histograms": room})
    case("wgpu_sort", path, text, "calculate_histogram", (blocks, 1, 1), {"keys": ready, "histograms": np.zeros(room, np.uint32)})
    case("wgpu_sort", path, text, "prefix_histogram", (4, 1, 1), {"histograms": counts})
    even_inputs = {"infos": infos(0, 1), "histograms": prefixes, "keys": ready, "payload_a": payload}
    case("wgpu_sort", path, text, "scatter_even", (blocks, 1, 1), even_inputs, {"keys_b": 4 * padded, "payload_b": n})
    odd_inputs = {"infos": infos(0, 0), "histograms": odd, "keys_b": keys_b, "keys": ready, "payload_b": payload_b, "payload_a": payload}
    case("wgpu_sort", path, text, "scatter_odd", (blocks, 1, 1), odd_inputs)
    case("wgpu_sort", path, lambda: wgpu_sort(1), "scatter_even", (blocks, 1, 1), even_inputs, {"keys_b": 4 * padded, "payload_b": n}, note="for subgroups of 1")


def cases_forma(n=1500):
    path, text = "src/gpu/conveyor_sort/sort.wgsl", lambda: forma("src/gpu/conveyor_sort/sort.wgsl")
    blocks = -(-n // 576)
    numbers = rng.integers(0, 1 << 63, n, np.uint64)
    config = lambda way: u32([n, blocks, way])
    case("forma-render", path, text, "blockSort", (blocks, 1, 1), {"buffer0": numbers, "config": config(0)})
    sorted_blocks = np.concatenate([np.sort(numbers[i : i + 576]) for i in range(0, n, 576)])
    case("forma-render", path, text, "findMergeOffsets", (1, 1, 1), {"buffer0": sorted_blocks, "config": config(2)}, {"offsets": blocks + 1})
    whole = np.full(blocks * 576, np.iinfo(np.uint64).max)
    whole[:n] = sorted_blocks
    # Of the i-th number of a merged pair: how many of those before it are of the left block.
    offsets = [0] * (blocks + 1)
    for block in range(1, blocks + 1):
        left = block // 2 * 2 * 576
        pair = whole[left : min(left + 1152, len(whole))]
        order = np.argsort(pair, kind="stable")
        offsets[block] = int(np.sum(order[: block % 2 * 576] < 576))
    case("forma-render", path, text, "mergeBlocks", (blocks, 1, 1), {"buffer0": sorted_blocks, "config": config(2), "offsets": u32(offsets)}, {"buffer1": n})
    path, text = "src/gpu/rasterizer/rasterizer.wgsl", lambda: forma("src/gpu/rasterizer/rasterizer.wgsl")
    lines = 400
    points = rng.uniform(0, 200, (lines + 1, 2)).astype(np.float32)
    points[7] = [points[6][0], points[6][1] + 3]
    orders = rng.integers(0, 50, lines).astype(np.uint32)
    orders[::20] = 0xFFFFFFFF
    with np.errstate(divide="ignore", invalid="ignore"):
        d = np.diff(points, axis=0)
        recip = 1 / d
        shift = np.where(d != 0, np.maximum((np.ceil(points[:-1]) - points[:-1]) * recip, -(points[:-1] % 1) * recip), 0)
    rows = np.concatenate([abs(recip), shift, points[:-1] * 16, d * 16], 1).astype(np.float32).view(np.uint32)
    rows = np.where((orders == 0xFFFFFFFF)[:, None], 0, np.concatenate([rows, orders[:, None]], 1)).astype(np.uint32)
    cells = np.floor(points).astype(np.int64)
    lengths = np.where(orders == 0xFFFFFFFF, 0, np.abs(np.diff(cells, axis=0)).sum(1) + 1)
    config = u32([lines, lengths.sum()])
    case("forma-render", path, text, "prepareLines", (-(-lines // 256), 1, 1), {"config": config, "points": points, "orders": orders}, {"lines_out": lines})
    inputs = {"config": config, "lines_in": rows, "line_lens": u32(np.cumsum(lengths))}
    case("forma-render", path, text, "rasterize", (16, 1, 1), inputs, {"segments": int(lengths.sum())})


DRAW_TAGS = [0x44, 0x114, 0x29C, 0x254, 0x28C, 0x2D4]
BEGIN, END = 0x49, 0x21


class Scene:
    """698 draw objects of vello, 466 of them clips, each one a rectangle on 512 x 384 pixels."""

    def __init__(self):
        tags = [BEGIN]
        for i in range(116):
            tags += [BEGIN, DRAW_TAGS[i % 6], BEGIN, DRAW_TAGS[(i + 1) % 6], END, END]
        self.tags = tags = np.array([*tags, END])
        self.n = n = len(tags)
        monoid = np.stack([tags != 0, tags & 1, tags >> 2 & 7, tags >> 6 & 15], 1).astype(np.int64)
        self.monoids = exclusive(monoid)
        self.blocks = -(-n // 256)
        self.reduced = np.stack([monoid[256 * b : 256 * b + 256].sum(0) for b in range(self.blocks)])
        corner = rng.integers(0, [440, 320], (n, 2))
        self.boxes = np.concatenate([corner, corner + rng.integers(1, 64, (n, 2))], 1)
        self.boxes[tags == BEGIN] = [0, 0, 500, 370]
        self.boxes[tags == END] = [0x7FFFFFFF, 0x7FFFFFFF, -0x80000000, -0x80000000]
        self.path_boxes = np.concatenate([self.boxes, np.zeros((n, 2), np.int64)], 1)
        # Style, four lines, end of the path; a transform in front of all.
        path = np.array([0x40, 9, 9, 9, 13, 0x10], np.uint8)
        bytes_ = np.concatenate([[0x20], *(path if t != END else [0x10] for t in tags)]).astype(np.uint8)
        padded = np.zeros(-(-len(bytes_) // 1024) * 1024, np.uint8)
        padded[: len(bytes_)] = bytes_
        self.tag_words, self.tag_groups = padded.view(np.uint32), len(padded) // 1024
        data = []
        for tag, box in zip(tags, self.boxes):
            reals = np.array([*box, 3.0, 9.0], np.float32).view(np.uint32)
            data.append({0x44: [0xFF00FF], 0x114: [1, *reals[:4]], 0x29C: [1, *reals], 0x254: [1, *reals[:2], 0, 0x3F800000], 0x28C: [0, 0x400040, 0], 0x2D4: [1, *reals[:4]],
                         BEGIN: [0, 0x3F800000], END: []}[tag])
        drawdata = u32(*data)
        transform = np.array([1, 0, 0, 1, 5, 7], np.float32).view(np.uint32)
        parts = [self.tag_words, np.zeros(64, np.uint32), u32(tags), drawdata, transform, np.zeros(2 * n, np.uint32)]
        self.scene = np.concatenate(parts)
        bases = np.cumsum([0, *map(len, parts)])
        self.info = int(monoid[:, 3].sum())
        self.clips = int(monoid[:, 1].sum())
        self.tiles = 1 << 14
        self.config = u32([32, 24, 512, 384, 0, n, n, self.clips, self.info, *bases[:6], 1 << 13, 1 << 13, self.tiles, 1 << 14, 1 << 14, 1 << 10, 1 << 13])
        stack, inputs = [], []
        self.clip_boxes, open_ = np.zeros((self.clips, 4), np.float32), []
        everything = np.array([-1e9, -1e9, 1e9, 1e9])
        meet = lambda a, b: np.concatenate([np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])])
        for i, tag in enumerate(tags):
            if tag == BEGIN:
                open_.append(meet(open_[-1] if open_ else everything, self.boxes[i]))
                self.clip_boxes[len(inputs)] = open_[-1]
                stack.append(len(inputs))
                inputs.append((i, i))
            elif tag == END:
                open_.pop()
                self.clip_boxes[len(inputs)] = open_[-1] if open_ else everything
                stack.pop()
                inputs.append((i, ~i))
            if len(inputs) == 256 and tag in (BEGIN, END):
                self.stack = list(stack)
        self.clip_inputs = u32(inputs)
        begins = [inputs[i][1] for i in self.stack]
        self.clip_bic = u32([0, len(self.stack)])
        self.clip_els = np.zeros((self.clips, 8), np.float32)
        self.clip_els[: len(begins), 0] = np.array(self.stack, np.uint32).view(np.float32)
        self.clip_els[: len(begins), 4:] = self.boxes[begins]
        # What is left of each rectangle, its tiles and where they begin.
        self.drawn = np.where((tags == END)[:, None], 0, self.boxes).astype(np.float32)
        self.drawn[tags == BEGIN] = [0, 0, 32, 32]
        tiles = np.concatenate([self.drawn[:, :2] // 16, -(-self.drawn[:, 2:] // 16)], 1).astype(np.int64)
        area = (tiles[:, 2] - tiles[:, 0]) * (tiles[:, 3] - tiles[:, 1])
        self.paths = np.concatenate([tiles, exclusive(area)[:, None], np.zeros((n, 3), np.int64)], 1)
        self.area = int(area.sum())

    def lines(self):
        rows = []
        for path in np.flatnonzero((self.tags != END) & (self.tags != BEGIN)):
            x0, y0, x1, y1 = self.boxes[path] + [0.25, 0.5, 0.75, 0.125]
            for p, q in (((x0, y0), (x1, y0 + 1)), ((x1, y0 + 1), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))):
                rows.append([np.uint32(path).view(np.float32), 0, *p, *q])
        return np.array(rows, np.float32)

    def bump(self, lines=0, segments=0):
        return u32([0, 0, 0, 0, segments, 0, 0, lines])

    def reduce_tags(self, words):
        """The monoid of each word, as reduce_tag of shared/pathtag.wgsl has it."""
        tags = words.view(np.uint8).reshape(-1, 4).astype(np.int64)
        count = tags & 3
        points = count + (tags >> 2 & 1)
        offsets = np.where(tags >> 3 & 1, 2 * points, points)
        return np.stack([(tags >> 5 & 1).sum(1), (count > 0).sum(1), offsets.sum(1), 2 * (tags >> 6 & 1).sum(1), (tags >> 4 & 1).sum(1)], 1)


def cases_vello():
    s = Scene()

    def add(name, workgroups, inputs, elements=None, defined=(), note=""):
        case("vello_shaders", f"shader/{name}.wgsl", lambda: vello(name, *defined), "main", workgroups, inputs, elements, note=note)

    groups = s.tag_groups
    monoids = s.reduce_tags(s.tag_words)
    reduced = np.stack([monoids[256 * g : 256 * g + 256].sum(0) for g in range(groups)])
    add("pathtag_reduce", (groups, 1, 1), {"config": s.config, "scene": s.scene}, {"reduced": groups})
    add("pathtag_scan", (groups, 1, 1), {"config": s.config, "scene": s.scene, "reduced": u32(reduced)}, {"tag_monoids": 256 * groups}, ("small",), "small")
    add("pathtag_scan", (groups, 1, 1), {"config": s.config, "scene": s.scene, "reduced": u32(exclusive(reduced))}, {"tag_monoids": 256 * groups}, note="large")
    # The large scan: 300 workgroups of tags, whose sums have room to 512, and which 256 workgroups take together.
    many = np.zeros((512, 5), np.int64)
    many[:300] = rng.integers(0, 99, (300, 5))
    add("pathtag_reduce2", (256, 1, 1), {"reduced_in": u32(many)}, {"reduced": 256}, note="as dispatched")
    add("pathtag_reduce2", (2, 1, 1), {"reduced_in": u32(many)}, {"reduced": 256}, note="no more than there is")
    twice = np.zeros((256, 5), np.int64)
    twice[:2] = many[:256].sum(0), many[256:].sum(0)
    add("pathtag_scan1", (2, 1, 1), {"reduced": u32(many), "reduced2": u32(twice)}, {"tag_monoids": 512})
    add("bbox_clear", (s.blocks, 1, 1), {"config": s.config}, {"path_bboxes": s.n})
    add("draw_reduce", (s.blocks, 1, 1), {"config": s.config, "scene": s.scene}, {"reduced": s.blocks})
    inputs = {"config": s.config, "scene": s.scene, "reduced": u32(s.reduced), "path_bbox": u32(s.path_boxes)}
    add("draw_leaf", (s.blocks, 1, 1), inputs, {"draw_monoid": s.n, "info": s.info, "clip_inp": s.clips})
    add("clip_reduce", ((s.clips - 1) // 256, 1, 1), {"clip_inp": s.clip_inputs, "path_bboxes": u32(s.path_boxes)}, {"reduced": s.clips // 256, "clip_out": s.clips})
    inputs = {"config": s.config, "clip_inp": s.clip_inputs, "path_bboxes": u32(s.path_boxes), "reduced": s.clip_bic, "clip_els": s.clip_els, "draw_monoids": u32(s.monoids)}
    add("clip_leaf", (-(-s.clips // 256), 1, 1), inputs, {"clip_bboxes": s.clips})
    inputs = {"config": s.config, "draw_monoids": u32(s.monoids), "path_bbox_buf": u32(s.path_boxes), "clip_bbox_buf": s.clip_boxes, "bump": s.bump()}
    add("binning", (s.blocks, 1, 1), inputs, {"intersected_bbox": s.n, "bin_data": 1 << 14, "bin_header": 256 * s.blocks})
    inputs = {"config": s.config, "scene": s.scene, "draw_bboxes": s.drawn, "bump": s.bump()}
    add("tile_alloc", (s.blocks, 1, 1), inputs, {"paths": 256 * s.blocks, "tiles": s.tiles})
    few = s.config.copy()
    few[17] = 1000
    add("tile_alloc", (s.blocks, 1, 1), {**inputs, "config": few}, {"paths": 256 * s.blocks, "tiles": 1000}, note="with too few tiles")
    lines = s.lines()
    add("path_count_setup", (1, 1, 1), {"bump": s.bump(len(lines))})
    inputs = {"config": s.config, "bump": s.bump(len(lines)), "lines": lines, "paths": u32(s.paths), "tile": np.zeros(2 * s.tiles, np.uint32)}
    add("path_count", (-(-len(lines) // 256), 1, 1), inputs, {"seg_counts": 1 << 14})
    paths = np.zeros((256 * s.blocks, 8), np.int64)
    paths[: s.n] = s.paths
    tiles = u32(rng.integers(-1, 2, 2 * s.tiles))
    add("backdrop_dyn", (s.blocks, 1, 1), {"config": s.config, "bump": s.bump(len(lines)), "paths": u32(paths), "tiles": tiles})
    add("backdrop", (24, 1, 1), {"config": s.config, "tiles": tiles[: 2 * 32 * 24]})
    add("path_tiling_setup", (1, 1, 1), {"bump": s.bump(len(lines), 4000)}, {"ptcl": 64})


def cases_rwkv(c=640, t=3):
    def add(name, text, entry, workgroups, inputs, elements=None, subgroups=None, note=""):
        case("web-rwkv", f"src/shaders/{name}.wgsl", text, entry, workgroups, inputs, elements, subgroups, note=note)

    shape = u32([c, t, 1, 1])
    affine = {"w": f16(c), "b": f16(c)}
    common = {"BLOCK_SIZE": 128, "EPS": "0.00001"}
    add("softmax", lambda: rwkv("softmax", **common), "softmax", (1, t, 1), {"shape": shape, "x": f32(t, c)})
    add("softmax", lambda: rwkv("softmax", "FP16", **common), "softmax", (1, t, 1), {"shape": shape, "x": f16(t, c)}, note="f16")
    add("layer_norm", lambda: rwkv("layer_norm", **common), "layer_norm", (1, t, 1), {"shape": shape, "x": f32(t, c), **affine})
    group = lambda: rwkv("layer_norm", "GROUP_NORM", BLOCK_SIZE=32, EPS="0.00064")
    add("layer_norm", group, "layer_norm", (1, 10, t), {"shape": u32([64, 10, t, 1]), "x": f32(t, c), **affine}, note="groups")
    for entry in ("recenter", "rms_norm", "l2_norm"):
        inputs = {"shape": shape, "x": f32(t, c), **(affine if entry == "rms_norm" else {})}
        add("normalize", lambda: rwkv("normalize", **common), entry, (1, t, 1), inputs)
        if entry != "recenter":
            add("subgroup/normalize", lambda: rwkv_subgroup("normalize", 32, 32), entry, (1, t, 1), inputs, subgroups="32", note="32 lanes")
    for least, most, sizes in ((32, 32, "32"), (32, 64, "32,64"), (4, 128, "4,8,16,32,64")):
        text = lambda least=least, most=most: rwkv_subgroup("softmax", least, most)
        add("subgroup/softmax", text, "softmax", (1, t, 1), {"shape": shape, "x": f32(t, c)}, subgroups=sizes, note=f"{least} to {most} lanes")
    inputs = {"vx": view(c, t, 1), "vt": view(c, 1, 1), "vs": view(c, 1, 2), "cursors": u32([t << 24] * t), "time_mix": f16(c), "sx": f32(2, c), "x": f32(t, c)}
    add("token_shift", lambda: rwkv("token_shift", "TIME_MIX_FP16", **common), "token_shift", (-(-c // 512), t, 1), inputs, {"output": t * c // 4})
    for act in ("squared_relu", "silu"):
        add("activation", lambda act=act: rwkv("activation", **{**common, "ACT": act}), "act", (-(-c // 512), t, 1), {"view": view(c, t, 1), "x": f32(t, c)}, note=act)
    rows = 24
    inputs = {"shape": u32([c, rows, 1, 1]), "source": view(c, t, 1), "destination": view(rows, t, 1), "matrix": f16(rows, c), "input": f32(t, c)}
    add("matmul_vec_fp16", lambda: rwkv("matmul_vec_fp16", **common), "matmul", (rows // 4, t, 1), inputs, {"output": t * rows // 4})
    add("subgroup/matmul_vec_fp16", lambda: rwkv_subgroup("matmul_vec_fp16", 32, 64), "matmul", (rows // 4, t, 1), inputs, {"output": t * rows // 4}, "32,64", "32 to 64 lanes")
    k, m, n = 72, 40, 36
    inputs = {"va": view(k, m), "vb": view(k, n), "destination": view(m, n), "xa": f16(m, k), "xb": f32(n, k)}
    add("matmul_mat_fp16", lambda: rwkv("matmul_mat_fp16", BLOCK_SIZE=8), "matmul", (2, 2, 1), inputs, {"output": m * n // 4})
    blocks = c * rows // 128
    text = lambda: rwkv("quant_mat_int8", BLOCK_SIZE=128, INT8_BLOCK_SIZE=128)
    matrix = f16(rows, c)
    inputs = {"len": u32([2 * blocks, 1, 1, 1]), "shape": u32([c, rows, 1, 1]), "input": matrix}
    add("quant_mat_int8", text, "compute_minmax", (1, 128, 1), inputs, {"minmax": blocks})
    ranges = np.stack([matrix.reshape(blocks, 128).min(1), matrix.reshape(blocks, 128).max(1)], 1)
    inputs = {"len": u32([c * rows, 1, 1, 1]), "input": matrix, "minmax": ranges}
    add("quant_mat_int8", text, "quantize", (1, 128, 1), inputs, {"output": c * rows // 4})
    size, heads, tokens = 64, 2, 5
    width = size * heads
    shared = {"shape": u32([size, heads, tokens, 1]), "view": view(width, size + 1, 1), "cursors": u32([tokens << 24] * tokens), "state": f32(size + 1, width)}
    six = {**shared, "time_decay": f32(tokens, width), "time_first": f32(width), "k": f32(tokens, width), "v": f32(tokens, width), "r": f32(tokens, width), "x": f32(tokens, width)}
    heads_of = {"BLOCK_SIZE": 32, "HEAD_SIZE": size // 4}
    add("time_mix_v6", lambda: rwkv("time_mix_v6", **heads_of), "time_mix", (1, 1, 1), six)
    seven = {"shape": shared["shape"], "r": f32(tokens, width), "n": f32(4, tokens, width), "x": f32(tokens, width)}
    text = lambda: rwkv("time_mix_v7", **heads_of)
    add("time_mix_v7", text, "time_mix", (1, 1, 1), {**shared, **seven, "w": f32(tokens, width)})
    add("time_mix_v7", text, "time_first", (1, tokens, 1), {**seven, "u": f16(width)})


def cases_wgmath():
    n = 300
    ops = lambda name: lambda: wgmath("wgml", f"src/ops/{name}.wgsl")

    def add(name, workgroups, inputs, elements=None):
        case("wgml", f"src/ops/{name}.wgsl", ops(name), "main", workgroups, inputs, elements)

    add("softmax", (1, 1, 1), {"shape": vector(n), "in_out_vec": f32(n)})
    add("layernorm", (1, 1, 1), {"in_shape": vector(n), "out_shape": vector(n), "in_vec": f32(n)}, {"out_vec": n})
    add("rms_norm", (1, 1, 1), {"shape_v": vector(n), "shape_w": vector(n), "shape_out": vector(n), "v": f32(n), "w": f32(n)}, {"out": n})
    add("silu", (5, 1, 1), {"shape_a": vector(n), "shape_b": vector(n), "in_out_a": f32(n), "in_b": f32(n)})
    # A width of 288 in heads of 48, as the smallest llama has it.
    width, head, places, pos = 288, 48, 16, 9
    add("rope", (3, 1, 1), {"shape_q": vector(width), "shape_k": vector(width), "shape": u32([head, width, pos]), "in_out_q": f32(width), "in_out_k": f32(width)})
    inputs = {"params": u32([places, width, 1, 6, head, pos]), "q": f32(width), "key_cache": f32(places, width), "value_cache": f32(places, width)}
    add("batched_multiquery_attention", (1, 1, 1), inputs, {"attn": 6 * places, "xb": width // 4})
    rows, columns = 100, 40
    shapes = {"shape_out": vector(rows), "shape_m": u32([rows, columns, rows, 0]), "shape_v": vector(columns)}
    for entry in ("gemv0", "gemv1"):
        text = lambda: wgmath("wgebra", "src/linalg/gemv.wgsl")
        out = {"out": f32(rows)} if entry == "gemv1" else {}
        case("wgebra", "src/linalg/gemv.wgsl", text, entry, (2, 1, 1), {**shapes, "m": f32(columns, rows), "v": f32(columns), **out}, {"out": rows})
    for name, functions in (("sum", ("reduce_sum_f32", "reduce_sum_f32", "init_zero")), ("min", ("reduce_min_f32", "reduce_min_f32", "init_max_f32"))):
        text = lambda functions=functions: reduction(*functions)
        case("wgebra", "src/linalg/reduce.wgsl", text, "main", (1, 1, 1), {"shape": vector(n), "input": f32(n)}, note=name)


def cases_hanabi():
    def add(name, entry, workgroups, inputs, elements=None, defined=(), note=""):
        case("bevy_hanabi", f"src/render/{name}.wgsl", lambda: hanabi(name, *defined), entry, workgroups, inputs, elements, note=note)

    # A struct each: begin and stride of what is read, begin and stride of what is written, count.
    args = lambda *values: u32(values)
    rows = u32(rng.integers(0, 999, 400))
    add("vfx_utils", "zero_buffer", (2, 1, 1), {"args": args(0, 0, 8, 1, 100)}, {"dst_buffer": 128})
    add("vfx_utils", "copy_buffer", (2, 1, 1), {"args": args(1, 4, 2, 3, 90), "src_buffer": rows}, {"dst_buffer": 300})
    add("vfx_utils", "fill_dispatch_args", (2, 1, 1), {"args": args(1, 4, 0, 3, 90), "src_buffer": rows}, {"dst_buffer": 270})
    add("vfx_utils", "fill_dispatch_args_self", (2, 1, 1), {"args": args(0, 3, 0, 3, 90), "dst_buffer": rows[:270]})
    batches = np.array([[0, 0, 0, 0, 5 * i, 5] for i in range(20)])
    add("vfx_prefix_sum", "main", (1, 1, 1), {"batch_infos": u32(batches), "prefix_sum": rows[:100]}, {"dispatch_indirect_buffer": 20})
    pairs = u32([40], rng.integers(0, 50, 120))
    add("vfx_sort", "main", (1, 1, 1), {"sort_buffer": pairs}, defined=("HAS_DUAL_KEY",), note="two keys")
    add("vfx_sort", "main", (1, 1, 1), {"sort_buffer": u32([60], pairs[1:])})
    # Capacity, alive, max_update, max_spawn, column, rest, stride of a particle, its keys, counter.
    alive = 90
    metadata = u32([128, alive, alive, 38, 1, 0, 0, 0, 0, 0, 0, 4, 1, 2, 0])
    spawner = np.zeros(32, np.uint32)
    particles = u32(rng.integers(0, 99, 128 * 4))
    column = u32(np.stack([rng.permutation(128) for _ in range(3)], 1))
    inputs = {"sort_buffer": np.zeros(1 + 3 * 128, np.uint32), "particle_buffer": particles, "indirect_index_buffer": column, "effect_metadata": metadata, "spawner": spawner}
    add("vfx_sort_fill", "main", (2, 1, 1), inputs)
    inputs = {"sort_buffer": u32([alive], rng.integers(0, 99, 3 * 128)), "indirect_index_buffer": column, "effect_metadata": metadata, "spawner": spawner}
    add("vfx_sort_copy", "main", (2, 1, 1), inputs)
    effects = 70
    all_metadata = u32([[128, i, 0, 0, i & 1, i, *[0] * 9] for i in range(effects)])
    spawners = np.zeros((effects, 32), np.uint32)
    spawners[:, 27] = spawners[:, 28] = np.arange(effects)
    inputs = {"sim_params": u32([0] * 6, [effects, 0]), "effect_metadata_buffer": all_metadata, "spawner_buffer": spawners, "child_info_buffer": u32([[i, 3] for i in range(8)])}
    add("vfx_indirect", "main", (2, 1, 1), inputs, {"dispatch_indirect_buffer": effects, "draw_indirect_buffer": 5 * effects, "prefix_sum": effects}, ("HAS_GPU_SPAWN_EVENTS",))


def cases_blade(side=20):
    unit = lambda: np.concatenate([v := f32(side, side, 3), np.zeros((side, side, 1), np.float32)], 2) / np.linalg.norm(v, axis=2, keepdims=True)
    depth = lambda: rng.uniform(5, 9, (side, side, 1)).astype(np.float32)
    light = lambda: rng.uniform(0, 2, (side, side, 4)).astype(np.float32)
    reals = lambda *values: np.array(values, np.float32).view(np.uint32)
    camera = np.concatenate([reals(0, 0, 0, 100, 0, 0, 0, 1, 1, 1, 0, 0), u32([side, side, 0, 0])])
    params = lambda iteration: np.concatenate([u32([side, side]), reals(0.3), u32([iteration, 1, 0])])
    flat = unit()
    inputs = {"camera": camera, "prev_camera": camera, "params": params(0), "t_depth": depth(), "t_prev_depth": depth(), "t_flat_normal": flat, "t_prev_flat_normal": flat,
              "t_motion": 0.001 * f32(side, side, 2), "input": light(), "output": light()}
    case("blade-render", "code/a-trous.wgsl", lambda: blade("a-trous.wgsl"), "temporal_accum", (3, 3, 1), inputs)
    inputs = {"params": params(1), "t_depth": depth(), "t_flat_normal": flat, "input": light(), "output": light()}
    case("blade-render", "code/a-trous.wgsl", lambda: blade("a-trous.wgsl"), "atrous3x3", (3, 3, 1), inputs)
    inputs = {"source": rng.uniform(0, 2, (32, 32, 4)).astype(np.float32), "params": u32([0])}
    case("blade-render", "code/env-prepare.wgsl", lambda: blade("env-prepare.wgsl"), "downsample", (2, 2, 1), inputs)
    n, joints = 150, 64
    vertex = np.concatenate([f32(n, 3), np.ones((n, 1), np.float32), f32(n, 2), rng.integers(0, 1 << 23, (n, 2), np.uint32).view(np.float32)], 1)
    skin = np.stack([rng.integers(0, joints, (n, 4)).astype(np.uint8).view(np.uint32)[:, 0], np.full(n, 0x40404040, np.uint32)], 1)
    matrix = np.tile(np.eye(4, dtype=np.float32)[:3].reshape(-1), joints + 1)
    inputs = {"skinning_params": matrix, "skin_dispatch": u32([n, 0, 0, 0]), "source": vertex, "skin_source": skin}
    case("blade-render", "code/skin.wgsl", lambda: blade("skin.wgsl"), "skin", (3, 1, 1), inputs, {"destination": n})


def cases_wgpu_core():
    """Immediates, which the sanitizer does not know, are bound as uniforms: they are as constant."""
    n = 100
    folder = "src/timestamp_normalization"
    bound = lambda path: read("wgpu-core", path).replace("var<immediate>", "@group(3) @binding(0) var<uniform>")
    text = lambda: read("wgpu-core", f"{folder}/common.wgsl") + bound(f"{folder}/timestamp_normalization.wgsl")
    inputs = {"timestamps": rng.integers(0, 1 << 50, n, np.uint64), "im": u32([0, n])}
    case("wgpu-core", f"{folder}/timestamp_normalization.wgsl", text, "main", (2, 1, 1), inputs, constants={"TIMESTAMP_PERIOD_MULTIPLY": 20000, "TIMESTAMP_PERIOD_SHIFT": 14})
    draws = u32([[3, 1, 0, 0, 0]] * n)
    metadata = u32([[5 * i | 1 << 31, 5 * i, 36, 4] for i in range(n)])
    path = "src/indirect_validation/validate_draw.wgsl"
    inputs = {"metadata": metadata, "src": draws, "metadata_range": u32([0, n])}
    constants = {"supports_indirect_first_instance": "true", "write_d3d12_special_constants": "false"}
    case("wgpu-core", path, lambda: bound(path), "main", (2, 1, 1), inputs, {"dst": 5 * n}, constants=constants)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "../target/release/wgen"))
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--shuffles", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=300)
    parser.add_argument("--keep")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    for make in (cases_wgpu_sort, cases_forma, cases_vello, cases_rwkv, cases_wgmath, cases_hanabi, cases_blade, cases_wgpu_core):
        make()
    asked = lambda c: not arguments.only or any(text in f"{c['crate']} {c['path']} {c['entry']} {c['note']}" for text in arguments.only)
    chosen = [c for c in CASES if asked(c)]
    if arguments.list:
        for c in chosen:
            print(c["crate"], c["path"], c["entry"], c["note"])
        return
    print("| crate | path | entry | workgroups | runs | seconds | findings |\n|---|---|---|---|---|---|---|")
    failed, found = [], 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or temporary
        os.makedirs(folder, exist_ok=True)
        for number, c in enumerate(chosen):
            stem = os.path.join(folder, re.sub(r"\W+", "_", f"{number:02} {c['crate']} {os.path.basename(c['path'])[:-5]} {c['entry']} {c['note']}").strip("_"))
            with open(f"{stem}.wgsl", "w", encoding="utf-8") as file:
                file.write(c["text"]())
            save_file({name: np.ascontiguousarray(values) for name, values in c["inputs"].items()}, f"{stem}.safetensors")
            command = [arguments.bin, "sanitize", f"{stem}.wgsl", "--json", "--inputs", f"{stem}.safetensors", "--entry", c["entry"], "--shuffles", str(arguments.shuffles)]
            command += ["--workgroups", ",".join(map(str, c["workgroups"]))]
            command += [x for name, value in c["constants"].items() for x in ("--constant", f"{name}={value}")]
            command += [x for name, value in c["elements"].items() for x in ("--elements", f"{name}={value}")]
            command += ["--subgroup-sizes", c["subgroups"]] if c["subgroups"] else []
            if arguments.keep:
                with open(f"{stem}.sh", "w", encoding="utf-8") as file:
                    file.write(" ".join(command) + "\n")
            began = time.time()
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=arguments.timeout)
                status, out, error = done.returncode, done.stdout, done.stderr
            except subprocess.TimeoutExpired:
                status, out, error = "timeout", "", f"took more than {arguments.timeout:.0f} s"
            seconds = time.time() - began
            try:
                report = json.loads(out)
            except ValueError:
                report = None
            if report is None or status not in (0, 1):
                failed.append(c)
                runs, said = "", f"FAILED ({status}): " + " ".join(error.split())[-400:]
            else:
                runs, found = len(report["runs"]), found + len(report["findings"])
                said = "<br>".join(f"{f['kind']}, line {f['line']['number']}: `{f['line']['text']}`: {f['message']} (x{f['times']}, {f['run']})" for f in report["findings"]) or "none"
            path = c["path"] + (f" ({c['note']})" if c["note"] else "")
            cells = [c["crate"], path, c["entry"], "x".join(map(str, c["workgroups"])), runs, f"{seconds:.1f}", said.replace("|", "\\|")]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    count = len({(c["crate"], c["path"]) for c in chosen})
    print(f"\n{len(chosen)} cases of {count} shaders of {len({c['crate'] for c in chosen})} crates: {found} findings, wgen failed {len(failed)} times")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
