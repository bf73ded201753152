// Pooling over windows of images [batch, height, width, channels]. This one: ${mode}.
//
//   max             out[i, r, c, k] = max of image[i, y, x, k] over the pixels of window (r, c)
//   max_route       out[i, y, x, k] = sum of upstream over the windows whose first largest pixel is (y, x): the gradient of max
//   max_pick        out[i, r, c, k] = picked at the first largest pixel of image in window (r, c): the gradient of max_route
//   average         out[i, r, c, k] = mean over window (r, c), pixels of the padding counted as 0 (torch's count_include_pad)
//   average_spread  out[i, y, x, k] = sum of upstream over the windows with (y, x), divided by a window's pixels: the gradient of average
//
// Window (r, c) begins at pixel (r stride - padding, c stride - padding). "First" is by rows.
// An invocation makes one element of the result, or four neighbouring channels. No two write to the same place: a pixel looks for its
// windows, not a window for its pixels.
// Dispatch: ceil(units / WORKGROUP), folded into x and y.
// Cost: a comparison or addition for each pixel of each window; 4 bytes an element of operands and result.

alias real = ${"vec4<f32>" if vector else "f32"};
alias place = ${"vec4<u32>" if vector else "u32"};

override WORKGROUP: u32 = 64u;

struct Params {
    units: u32,
    channels: u32,  // in `real`s
    height: u32,
    width: u32,
    out_height: u32,
    out_width: u32,
    size_y: u32,
    size_x: u32,
    stride_y: u32,
    stride_x: u32,
    padding_y: u32,
    padding_x: u32,
    first_group: u32,  // workgroups of the line before this dispatch
}

//# include "shared/bindings.wgsl"

// The pixels of a window along one axis: from, to.
fn pixels_of(window: u32, stride: u32, padding: u32, size: u32, extent: u32) -> vec2<u32> {
    let start = window * stride;
    return vec2<u32>(max(start, padding) - padding, min(start + size - padding, extent));
}

// The windows that a pixel lies in along one axis: from, to.
fn windows_of(pixel: u32, stride: u32, padding: u32, size: u32, extent: u32) -> vec2<u32> {
    let end = pixel + padding;
    let first = select(0u, (end - size) / stride + 1u, end >= size);
    return vec2<u32>(first, min(end / stride + 1u, extent));
}

//# if mode in ["max", "max_route", "max_pick"]
// Where the first largest of a window stands, for each channel.
fn largest_of(picture: u32, row: u32, column: u32, channel: u32) -> place {
    let ys = pixels_of(row, params.stride_y, params.padding_y, params.size_y, params.height);
    let xs = pixels_of(column, params.stride_x, params.padding_x, params.size_x, params.width);
    var at = place((picture * params.height + ys.x) * params.width + xs.x);
    var largest = real(image[at${".x" if vector else ""} * params.channels + channel]);
    for (var y = ys.x; y < ys.y; y++) {
        for (var x = xs.x; x < xs.y; x++) {
            let pixel = (picture * params.height + y) * params.width + x;
            let value = real(image[pixel * params.channels + channel]);
            let larger = value > largest;
            at = select(at, place(pixel), larger);
            largest = select(largest, value, larger);
        }
    }
    return at;
}
//# endif

@compute @workgroup_size(WORKGROUP)
fn pool(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let unit = (params.first_group + group.y * groups.x + group.x) * WORKGROUP + local;
    if unit >= params.units {
        return;
    }
    let channel = unit % params.channels;
    let pixel = unit / params.channels;
    //# if mode in ["max_route", "average_spread"]
    let picture = pixel / (params.width * params.height);
    let rows = windows_of(pixel / params.width % params.height, params.stride_y, params.padding_y, params.size_y, params.out_height);
    let columns = windows_of(pixel % params.width, params.stride_x, params.padding_x, params.size_x, params.out_width);
    var sum = real(0.0);
    for (var row = rows.x; row < rows.y; row++) {
        for (var column = columns.x; column < columns.y; column++) {
            let window = (picture * params.out_height + row) * params.out_width + column;
            let gradient = real(upstream[window * params.channels + channel]);
            //# if mode == "max_route"
            sum += select(real(0.0), gradient, largest_of(picture, row, column, channel) == place(pixel));
            //# else
            sum += gradient;
            //# endif
        }
    }
    out[unit] = ${"sum" if mode == "max_route" else "sum / f32(params.size_y * params.size_x)"};
    //# else
    let picture = pixel / (params.out_width * params.out_height);
    let row = pixel / params.out_width % params.out_height;
    let column = pixel % params.out_width;
    //# if mode == "average"
    let ys = pixels_of(row, params.stride_y, params.padding_y, params.size_y, params.height);
    let xs = pixels_of(column, params.stride_x, params.padding_x, params.size_x, params.width);
    var sum = real(0.0);
    for (var y = ys.x; y < ys.y; y++) {
        for (var x = xs.x; x < xs.y; x++) {
            sum += real(image[((picture * params.height + y) * params.width + x) * params.channels + channel]);
        }
    }
    out[unit] = sum / f32(params.size_y * params.size_x);
    //# else
    let at = largest_of(picture, row, column, channel);
    //# set source = "image" if mode == "max" else "picked"
    //# if vector
    var value = real();
    //# for i in range(4)
    value[${i}] = ${source}[at[${i}] * params.channels + channel][${i}];
    //# endfor
    out[unit] = value;
    //# else
    out[unit] = ${source}[at * params.channels + channel];
    //# endif
    //# endif
    //# endif
}
