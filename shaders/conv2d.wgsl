// Two-dimensional convolution and its two gradients, images [batch, height, width, channels], weights [out, height, width, channels / groups]:
//
//   forward  y[i, r, c, o] = finish(sum over taps t, u and channels k of x[i, r s - p + t d, c s - p + u d, k] w[o, t, u, k])
//   input    the gradient by x: each pixel takes from the y it went into. Also the transposed convolution.
//   weight   the gradient by w: sum over images and pixels of dy[i, r, c, o] x[i, r s - p + t d, c s - p + u d, k]
//
// Source: Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning". This one: ${direction}.
//
// Each is a matrix product (shared/product.wgsl) whose large operand is gathered from the image while it is read; no matrix of patches
// is ever written. The sum runs over segments, inside of which addresses grow evenly:
//   forward  nt: rows are pixels of y, columns its channels; a segment is a tap, k a channel of x${" (flat: a segment is a row of taps, k their channels, for they are neighbours)" if flat else ""}
//   input    nn: rows are pixels of x, columns its channels; a segment is a tap, k a channel of dy. With a stride only every s-th pixel
//            of dy meets a tap: pixels of x are sorted by their residue modulo the stride, so that no product with a zero is computed.
//   weight   tn: rows are channels of dy, columns taps and channels of x; a segment is a row of pixels of dy, k a pixel in it
// z of the grid is a group of channels, times a residue (input), times a part of the sum (weight).
// Variant depthwise: every channel is a group of its own; an invocation has four of them at one pixel, or at one tap.
// Variant fold: the second half of a convolution to few channels, where a tile's columns would be wasted. A product of matrices came
// before, of each source pixel with the weights of every tap; a[source pixel, tap, channel] (forward: channel, tap) are gathered and added.
//
// Dispatch: (columns / tile, rows / tile, z); depthwise and fold: ceil(units / 64) in x and y, z.
// Cost: 2 flops for each element of the smallest matrix of patches and each output channel; 4 bytes an element of a, b and the result.

alias real = ${"vec4<f32>" if vector else "f32"};

struct Params {
    m: u32,
    n: u32,
    k: u32,
    channel_groups: u32,
    first_row: u32,     // in workgroups: what of the grid lies before this dispatch
    first_matrix: u32,
    segments: u32,      // of one part of the sum (weight)
    all_segments: u32,
    rows_height: u32,   // rows of the product as places: [image, height, width]
    rows_width: u32,
    source_height: u32, // the tensor that is gathered from
    source_width: u32,
    source_channels: u32,
    dest_height: u32,   // the tensor whose pixels rows are
    dest_width: u32,
    dest_channels: u32,
    dest_stride_y: u32, // pixels of it between neighbouring rows of one residue
    dest_stride_x: u32,
    kernel_width: u32,
    taps: u32,
    weight_channels: u32,
    units: u32,         // invocations of the variants depthwise and fold
    source_stride_y: i32,  // pixels of the source between neighbouring rows
    source_stride_x: i32,
    step_y: i32,        // pixels of the source between neighbouring taps
    step_x: i32,
    skip_y: u32,        // taps of the kernel between neighbouring taps of a residue
    skip_x: u32,
    residues_y: u32,
    residues_x: u32,
    residues: array<vec4<i32>, ${phases}>,  // vertical, then horizontal: first tap, taps, offset of the first source pixel
    groups: array<vec4<u32>, ${[groups, 1] | max}>,
}

//# include "shared/bindings.wgsl"
//# include "shared/finish.wgsl"

// Where nothing is: a pixel of the padding.
const OUTSIDE: u32 = 0xffffffffu;

// Divisions are slow on some devices: where there is but one residue or group, nothing is divided.
fn residue_y(batch: u32) -> u32 {
    return ${"0u" if phases == 2 else "batch / params.residues_x % params.residues_y"};
}

fn residue_x(batch: u32) -> u32 {
    return ${"1u" if phases == 2 else "params.residues_y + batch % params.residues_x"};
}

fn group_of(batch: u32) -> u32 {
    return ${"batch / (params.residues_x * params.residues_y) % params.channel_groups" if grouped else "0u"};
}

//# if direction != "weight"
fn segments(batch: u32) -> u32 {
    return u32(params.residues[residue_y(batch)].y * params.residues[residue_x(batch)].y);
}

// The tap of a segment within its residue's taps: vertical, horizontal.
fn tap_of(batch: u32, segment: u32) -> vec2<i32> {
    let across = u32(params.residues[residue_x(batch)].y);
    return vec2<i32>(i32(segment / across), i32(segment % across));
}

// The same tap's place in the kernel.
fn kernel_tap(batch: u32, segment: u32) -> u32 {
    let tap = tap_of(batch, segment);
    let y = u32(params.residues[residue_y(batch)].x) + u32(tap.x) * params.skip_y;
    let x = u32(params.residues[residue_x(batch)].x) + u32(tap.y) * params.skip_x;
    return y * params.kernel_width + x;
}

// A row as image, vertical and horizontal place. Rows past the end repeat the last one, for their results are never stored.
fn place_of_row(row: u32) -> vec3<u32> {
    let r = min(row, params.m - 1u);
    return vec3<u32>(r / (params.rows_width * params.rows_height), r / params.rows_width % params.rows_height, r % params.rows_width);
}

// First row of the source's image; the source pixel of tap 0; first channel.
fn place_a(batch: u32, row: u32) -> vec4<i32> {
    let place = vec3<i32>(place_of_row(row));
    let y = place.y * params.source_stride_y + params.residues[residue_y(batch)].z;
    let x = place.z * params.source_stride_x + params.residues[residue_x(batch)].z;
    return vec4<i32>(place.x * i32(params.source_height), y, x, i32(group_of(batch) * ${"params.weight_channels" if direction == "forward" else "params.k"}));
}

//# if flat
// The run of taps and channels in one row of the image: where it begins (perhaps left of the row), and which of it lies inside.
fn enter_a(batch: u32, place: vec4<i32>, segment: u32) -> vec3<i32> {
    let y = place.y + i32(segment) * params.step_y;
    let channels = i32(params.source_channels);
    let width = i32(params.source_width);
    let start = ((place.x + y) * width + place.z) * channels;
    let inside = u32(y) < params.source_height;
    return vec3<i32>(start, -place.z * channels, select(0, (width - place.z) * channels, inside));
}

//# if tiles
fn first_a(at: vec3<i32>, k: u32) -> vec3<i32> {
    return vec3<i32>(at.x, at.y, min(at.z, i32(params.k))) + i32(k) * vec3<i32>(1, -1, -1);
}

fn whole_a(first: vec3<i32>, k: u32) -> vec4<f32> {
    let e = i32(k) + vec4<i32>(0, 1, 2, 3);
    let inside = (e >= vec4<i32>(first.y)) & (e < vec4<i32>(first.z));
    let places = vec4<u32>(select(vec4<i32>(), first.x + e, inside));
    let run = vec4<f32>(f32(a[places.x]), f32(a[places.y]), f32(a[places.z]), f32(a[places.w]));
    return select(vec4<f32>(), run, inside);
}

//# endif
//# if not tiles or tail
fn load_a(at: vec3<i32>, k: u32) -> vec4<f32> {
    let e = vec4<i32>(i32(k)) + vec4<i32>(0, 1, 2, 3);
    let inside = (e >= vec4<i32>(at.y)) & (e < vec4<i32>(min(at.z, i32(params.k))));
    let places = vec4<u32>(select(vec4<i32>(), at.x + e, inside));
    let run = vec4<f32>(f32(a[places.x]), f32(a[places.y]), f32(a[places.z]), f32(a[places.w]));
    return select(vec4<f32>(), run, inside);
}
//# endif
//# else
fn enter_a(batch: u32, place: vec4<i32>, segment: u32) -> u32 {
    let tap = tap_of(batch, segment);
    let y = place.y + tap.x * params.step_y;
    let x = place.z + tap.y * params.step_x;
    let inside = u32(y) < params.source_height && u32(x) < params.source_width;
    let start = (u32(place.x + y) * params.source_width + u32(x)) * params.source_channels + u32(place.w);
    return select(OUTSIDE, start, inside);
}

//# if tiles
fn first_a(at: u32, k: u32) -> u32 {
    return select(OUTSIDE, ${"(at + k) / 4u" if a_vector else "at + k"}, at != OUTSIDE);
}

fn whole_a(first: u32, k: u32) -> vec4<f32> {
    let inside = first != OUTSIDE;
    //# if a_vector
    return select(vec4<f32>(), vec4<f32>(a[select(0u, first, inside) + k / 4u]), inside);
    //# else
    let at = select(0u, first, inside) + k;
    return select(vec4<f32>(), vec4<f32>(f32(a[at]), f32(a[at + 1u]), f32(a[at + 2u]), f32(a[at + 3u])), inside);
    //# endif
}

//# endif
//# if variant != "fold" and (not tiles or tail)
// Four consecutive channels; those past the end are zero.
fn load_a(at: u32, k: u32) -> vec4<f32> {
    //# if guard_k
    if k >= params.k {
        return vec4<f32>();
    }
    //# endif
    let inside = at != OUTSIDE;
    let start = select(0u, at, inside) + k;
    //# if a_vector
    return select(vec4<f32>(), vec4<f32>(a[start / 4u]), inside);
    //# else
    let last = params.k - 1u - k;
    return vec4<f32>(
        select(0.0, f32(a[start]), inside),
        select(0.0, f32(a[start + min(1u, last)]), inside && last >= 1u),
        select(0.0, f32(a[start + min(2u, last)]), inside && last >= 2u),
        select(0.0, f32(a[start + min(3u, last)]), inside && last >= 3u),
    );
    //# endif
}
//# endif
//# endif

// Where the results of a residue and of a channel of a group go: that channel among all groups', or OUTSIDE; the residue.
fn place_c(batch: u32, channel: u32) -> vec3<u32> {
    let first = group_of(batch) * params.n;
    //# if variant not in ["depthwise", "fold"]
    begin_columns(first + ${"min(channel, params.n - 4u)" if vector else "channel"});
    //# endif
    let inside = channel < ${"params.dest_channels" if variant == "depthwise" else "params.n"};
    return vec3<u32>(select(OUTSIDE, first + channel, inside), residue_y(batch), residue_x(batch));
}

// The result's element of a row at such a place; OUTSIDE where the row is none of the image's pixels.
fn index_of(place: vec3<u32>, row: u32) -> u32 {
    //# if direction == "input" and phases > 2
    let pixel_of = place_of_row(row);
    let y = pixel_of.y * params.dest_stride_y + place.y;
    let x = pixel_of.z * params.dest_stride_x + place.z - params.residues_y;
    if y >= params.dest_height || x >= params.dest_width {
        return OUTSIDE;
    }
    let pixel = (pixel_of.x * params.dest_height + y) * params.dest_width + x;
    //# else
    let pixel = row;
    //# endif
    return pixel * params.dest_channels + place.x;
}

//# if variant != "fold"
fn store(place: vec3<u32>, row: u32, sums: vec4<f32>) {
    if row >= params.m || place.x == OUTSIDE {
        return;
    }
    let index = index_of(place, row);
    if index == OUTSIDE {
        return;
    }
    //# if vector
    finish(index, sums);
    //# else
    let column = place.x${" % params.n" if grouped};
    for (var i = 0u; i < min(4u, params.n - column); i++) {
        finish(index + i, sums[i]);
    }
    //# endif
}
//# endif
//# endif

//# if direction == "forward" and variant not in ["depthwise", "fold"]
// Weights of one output channel: taps and channels, next to each other.
fn place_b(batch: u32, column: u32) -> u32 {
    return (group_of(batch) * params.n + min(column, params.n - 1u)) * params.taps * params.weight_channels;
}

fn enter_b(batch: u32, place: u32, segment: u32) -> u32 {
    return place + ${"segment * params.k" if flat else "kernel_tap(batch, segment) * params.weight_channels"};
}

//# set operand = {"name": "b", "aligned": b_vector}
//# include "shared/along_k.wgsl"
//# elif direction == "input" and variant not in ["depthwise", "fold"]
// Weights of the group's first output channel, and the first of four columns. Columns past the end repeat.
fn place_b(batch: u32, column: u32) -> vec2<u32> {
    return vec2<u32>(group_of(batch) * params.k * params.taps * params.n, ${"min(column, params.n - 4u)" if b_vector else "column"});
}

fn enter_b(batch: u32, place: vec2<u32>, segment: u32) -> vec2<u32> {
    return vec2<u32>(place.x + kernel_tap(batch, segment) * params.n, place.y);
}

//# set operand = {"name": "b", "aligned": b_vector, "stride": "params.taps * params.n", "extent": "n"}
//# include "shared/across_k.wgsl"
//# endif

//# if direction == "weight"
// Which part of the sum this is.
fn part_of(batch: u32) -> u32 {
    return ${"batch / params.channel_groups" if grouped and variant != "depthwise" else "batch"};
}

// Segments are rows of pixels; those of this part of the sum.
fn segments(batch: u32) -> u32 {
    let first = part_of(batch) * params.segments;
    return min(params.segments, params.all_segments - min(first, params.all_segments));
}

fn segment_of(batch: u32, segment: u32) -> u32 {
    return part_of(batch) * params.segments + segment;
}

// The first channel of the group, and the first of four rows. Rows past the end repeat.
fn place_a(batch: u32, row: u32) -> vec2<u32> {
    return vec2<u32>(batch % params.channel_groups * params.m, ${"min(row, params.m - 4u)" if a_vector and variant != "depthwise" else "row"});
}

fn enter_a(batch: u32, place: vec2<u32>, segment: u32) -> vec2<u32> {
    return vec2<u32>(place.x + segment_of(batch, segment) * params.k * params.dest_channels, place.y);
}

//# set operand = {"name": "a", "aligned": a_vector, "stride": "params.dest_channels", "extent": "m"}
//# include "shared/across_k.wgsl"

// What four columns are: the source pixel of each one's tap at place 0, vertical and horizontal, and its channel. Columns past the end
// repeat the last one, for their results are never stored.
struct Columns {
    y: vec4<i32>,
    x: vec4<i32>,
    channel: vec4<u32>,
}

fn columns_of(batch: u32, column: vec4<u32>) -> Columns {
    let c = min(column, vec4<u32>(params.n - 1u));
    let tap = c / params.weight_channels;
    return Columns(
        vec4<i32>(tap / params.kernel_width) * params.step_y + params.residues[0].z,
        vec4<i32>(tap % params.kernel_width) * params.step_x + params.residues[1].z,
        batch % params.channel_groups * params.weight_channels + c % params.weight_channels,
    );
}

// Where each column's channel lies in the first pixel of a segment's row of the source, OUTSIDE where there is no such row, and which pixel
// of that row tap 0 meets.
struct Row {
    start: vec4<u32>,
    x: vec4<i32>,
}

fn enter_columns(batch: u32, place: Columns, segment: u32) -> Row {
    let s = segment_of(batch, segment);
    let y = vec4<u32>(i32(s % params.rows_height) * params.source_stride_y + place.y);
    let first = s / params.rows_height * params.source_height;
    let start = (first + y) * params.source_width * params.source_channels + place.channel;
    return Row(select(vec4<u32>(OUTSIDE), start, y < vec4<u32>(params.source_height)), place.x);
}

//# if b_vector
// Four columns are neighbouring channels of one tap: the first of them says where all are.
fn place_b(batch: u32, column: u32) -> Columns {
    return columns_of(batch, vec4<u32>(column));
}

fn enter_b(batch: u32, place: Columns, segment: u32) -> vec2<u32> {
    let row = enter_columns(batch, place, segment);
    return vec2<u32>(row.start.x, u32(row.x.x));
}

//# if tiles
// The vec4 of the pixel that the first k meets, and that pixel: one far beyond the row's end where there is no such row.
fn first_b(at: vec2<u32>, k: u32) -> vec2<u32> {
    let x = u32(i32(at.y) + i32(k) * params.source_stride_x);
    return vec2<u32>(at.x / 4u + x * (params.source_channels / 4u), select(0x80000000u, x, at.x != OUTSIDE));
}

fn whole_b(first: vec2<u32>, k: u32) -> vec4<f32> {
    let right = k * u32(params.source_stride_x);
    let inside = first.y + right < params.source_width;
    let at = first.x + right * (params.source_channels / 4u);
    return select(vec4<f32>(), vec4<f32>(b[select(0u, at, inside)]), inside);
}

//# endif
//# if not tiles or tail
fn load_b(at: vec2<u32>, k: u32) -> vec4<f32> {
    let x = u32(i32(at.y) + i32(k) * params.source_stride_x);
    let inside = at.x != OUTSIDE && x < params.source_width${" && k < params.k" if guard_k else ""};
    return select(vec4<f32>(), vec4<f32>(b[select(0u, at.x + x * params.source_channels, inside) / 4u]), inside);
}
//# endif
//# else
// Each column is on its own.
fn place_b(batch: u32, column: u32) -> Columns {
    return columns_of(batch, column + vec4<u32>(0u, 1u, 2u, 3u));
}

fn enter_b(batch: u32, place: Columns, segment: u32) -> Row {
    return enter_columns(batch, place, segment);
}

//# if tiles
fn first_b(at: Row, k: u32) -> Row {
    return Row(at.start, at.x + i32(k) * params.source_stride_x);
}

fn whole_b(first: Row, k: u32) -> vec4<f32> {
    let x = vec4<u32>(first.x + i32(k) * params.source_stride_x);
    let inside = (first.start != vec4<u32>(OUTSIDE)) & (x < vec4<u32>(params.source_width));
    let source = select(vec4<u32>(), first.start + x * params.source_channels, inside);
    let columns = vec4<f32>(f32(b[source.x]), f32(b[source.y]), f32(b[source.z]), f32(b[source.w]));
    return select(vec4<f32>(), columns, inside);
}

//# endif
//# if not tiles or tail
fn load_b(at: Row, k: u32) -> vec4<f32> {
    let x = vec4<u32>(at.x + i32(k) * params.source_stride_x);
    let inside = (at.start != vec4<u32>(OUTSIDE)) & (x < vec4<u32>(params.source_width));
    let source = select(vec4<u32>(), at.start + x * params.source_channels, inside);
    let columns = vec4<f32>(f32(b[source.x]), f32(b[source.y]), f32(b[source.z]), f32(b[source.w]));
    return select(vec4<f32>(), columns, inside${" & vec4<bool>(k < params.k)" if guard_k else ""});
}
//# endif
//# endif

// Where four columns go: the first row among all parts' and groups', and the first of them.
fn place_c(batch: u32, column: u32) -> vec2<u32> {
    //# if variant != "depthwise"
    begin_columns(${"min(column, params.n - 4u)" if vector else "column"});
    //# endif
    return vec2<u32>(batch * params.m, column);
}

fn store(place: vec2<u32>, row: u32, sums: vec4<f32>) {
    let column = place.y;
    if row >= params.m || column >= params.n {
        return;
    }
    let index = (place.x + row) * params.n + column;
    //# if vector
    finish(index, sums);
    //# else
    for (var i = 0u; i < min(4u, params.n - column); i++) {
        finish(index + i, sums[i]);
    }
    //# endif
}
//# endif

//# if variant in ["depthwise", "fold"]
@compute @workgroup_size(64)
fn conv2d(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let unit = (group.y * groups.x + group.x) * 64u + local;
    if unit >= params.units {
        return;
    }
    let batch = group.z;
    //# if variant == "fold"
    let row = unit / params.n;
    let channel = unit % params.n;
    let index = index_of(place_c(batch, channel), row);
    if index == OUTSIDE {
        return;
    }
    let place = place_a(batch, row);
    let count = segments(batch);
    var sum = 0.0;
    for (var segment = 0u; segment < count; segment++) {
        let at = enter_a(batch, place, segment);
        let tap = kernel_tap(batch, segment);
        let inside = at != OUTSIDE;
        sum += select(0.0, f32(a[select(0u, at + ${"channel * params.taps + tap" if direction == "forward" else "tap * params.n + channel"}, inside)]), inside);
    }
    finish(index, sum);
    //# else
    let quads = params.source_channels / 4u;
    let channel = unit % quads * 4u;
    var sum = vec4<f32>();
    //# if direction == "weight"
    let tap = unit / quads;
    // With one channel a group, a column is a tap; the channels are these four.
    var place = columns_of(0u, vec4<u32>(tap));
    place.channel = vec4<u32>(channel);
    let count = segments(batch);
    for (var segment = 0u; segment < count; segment++) {
        let a_at = vec2<u32>(segment_of(batch, segment) * params.k * params.dest_channels, channel);
        let b_at = enter_b(batch, place, segment);
        for (var k = 0u; k < params.k; k++) {
            sum += load_a(a_at, k) * load_b(b_at, k);
        }
    }
    for (var i = 0u; i < 4u; i++) {
        finish((batch * params.dest_channels + channel + i) * params.taps + tap, sum[i]);
    }
    //# else
    let row = unit / quads;
    let place = place_a(batch, row);
    let count = segments(batch);
    for (var segment = 0u; segment < count; segment++) {
        let tap = kernel_tap(batch, segment);
        let weight = vec4<f32>(
            f32(b[channel * params.taps + tap]),
            f32(b[(channel + 1u) * params.taps + tap]),
            f32(b[(channel + 2u) * params.taps + tap]),
            f32(b[(channel + 3u) * params.taps + tap]),
        );
        sum += weight * load_a(enter_a(batch, place, segment), channel);
    }
    store(place_c(batch, channel), row, sum);
    //# endif
    //# endif
}
//# else
//# include "shared/product.wgsl"
//# endif
