// Images [batch, from, from, channels] as [batch, to, to, channels], ${interpolation}${", transposed: the gradient by the images" if transposed else ""}.
//
//   nearest   pixel o is pixel floor(o from / to)
//   bilinear  pixel o lies at (o + 1/2) from / to - 1/2, no less than 0, between two pixels, the last of which repeats
// as in torch.nn.functional.interpolate with align_corners false. Places are computed in integers, so that no device rounds them another way.
//
// Transposed, each pixel of the result looks for the pixels that it went into: nothing is scattered.
// An invocation makes one element, or four neighbouring channels.
// Dispatch: ceil(units / WORKGROUP), folded into x and y.
// Cost: 1 (nearest) or 4 (bilinear) multiplications an element; 4 bytes an element of operand and result.

alias real = ${"vec4<f32>" if vector else "f32"};

override WORKGROUP: u32 = 64u;

struct Params {
    units: u32,
    channels: u32,  // in `real`s
    from_height: u32,
    from_width: u32,
    to_height: u32,
    to_width: u32,
    first_group: u32,  // workgroups of the line before this dispatch
}

//# include "shared/bindings.wgsl"

//# if interpolation == "bilinear"
// How much pixel `pixel` of `from` gives to pixel `o` of `to`.
fn weight(pixel: u32, o: u32, extent: u32, to: u32) -> f32 {
    let place = lower_of(o, extent, to);
    let upper = min(place.x + 1u, extent - 1u);
    let share = f32(place.y) / f32(2u * to);
    return select(0.0, 1.0 - share, place.x == pixel) + select(0.0, share, upper == pixel);
}

// The pixel below the place of pixel o, and the rest in parts of 2 to.
fn lower_of(o: u32, extent: u32, to: u32) -> vec2<u32> {
    let twice = (2u * o + 1u) * extent;
    let place = max(twice, to) - to;
    let below = min(place / (2u * to), extent - 1u);
    return vec2<u32>(below, place - below * 2u * to);
}
//# endif

//# if transposed
// Pixels of `to` that pixel `pixel` ${"gives" if interpolation == "nearest" else "may give"} to: from, to.
fn reach(pixel: u32, extent: u32, to: u32) -> vec2<u32> {
    //# if interpolation == "nearest"
    // o from / to rounds down to `pixel` from the first o on that reaches it to the first that reaches the next.
    return (vec2<u32>(pixel, pixel + 1u) * to + extent - 1u) / extent;
    //# else
    // Half a pixel and a whole one to either side, and one for rounding.
    let first = max(pixel, 2u) - 2u;
    return vec2<u32>(first * to / extent, min((pixel + 3u) * to / extent + 1u, to));
    //# endif
}
//# endif

@compute @workgroup_size(WORKGROUP)
fn resize(
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
    //# if transposed
    let picture = pixel / (params.from_height * params.from_width);
    let y = pixel / params.from_width % params.from_height;
    let x = pixel % params.from_width;
    let rows = reach(y, params.from_height, params.to_height);
    let columns = reach(x, params.from_width, params.to_width);
    var sum = real(0.0);
    for (var row = rows.x; row < rows.y; row++) {
        //# if interpolation == "bilinear"
        let along_y = weight(y, row, params.from_height, params.to_height);
        //# endif
        for (var column = columns.x; column < columns.y; column++) {
            let at = (picture * params.to_height + row) * params.to_width + column;
            //# if interpolation == "bilinear"
            let along_x = weight(x, column, params.from_width, params.to_width);
            sum += along_y * along_x * real(image[at * params.channels + channel]);
            //# else
            sum += real(image[at * params.channels + channel]);
            //# endif
        }
    }
    out[unit] = sum;
    //# else
    let picture = pixel / (params.to_height * params.to_width);
    let row = pixel / params.to_width % params.to_height;
    let column = pixel % params.to_width;
    let first = picture * params.from_height;
    //# if interpolation == "nearest"
    let y = row * params.from_height / params.to_height;
    let x = column * params.from_width / params.to_width;
    out[unit] = image[((first + y) * params.from_width + x) * params.channels + channel];
    //# else
    let y = lower_of(row, params.from_height, params.to_height);
    let x = lower_of(column, params.from_width, params.to_width);
    let below = min(y.x + 1u, params.from_height - 1u);
    let right = min(x.x + 1u, params.from_width - 1u);
    let down = f32(y.y) / f32(2u * params.to_height);
    let across = f32(x.y) / f32(2u * params.to_width);
    let upper = (first + y.x) * params.from_width;
    let lower = (first + below) * params.from_width;
    let above = (1.0 - across) * real(image[(upper + x.x) * params.channels + channel])
        + across * real(image[(upper + right) * params.channels + channel]);
    let under = (1.0 - across) * real(image[(lower + x.x) * params.channels + channel])
        + across * real(image[(lower + right) * params.channels + channel]);
    out[unit] = (1.0 - down) * above + down * under;
    //# endif
    //# endif
}
