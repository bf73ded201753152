// pixels[column width + x, row height + y] = images[row columns + column][y, x] scale + shift,   a grid of images in a texture
//
// images: [images, height, width, channels] f32, as decoders leave them (NHWC); grey becomes (v, v, v, 1), RGB (r, g, b, 1), four
// channels stay as they are. Places of the grid without an image are transparent black. Out goes a storage texture of format
// ${texel}, which a render pass samples next: nothing crosses the bus.
//
// Dispatch: (columns width / 8, rows height / 8, 1), rounded up.
// Cost: 2 flops a value; 4 bytes a value read, a texel's bytes a pixel written.

struct Params {
    images: u32,
    height: u32,
    width: u32,
    columns: u32,
    scale: f32,
    shift: f32,
}

@group(0) @binding(0) var<storage, read> images: array<f32>;
@group(0) @binding(1) var pixels: texture_storage_2d<${texel}, write>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(8, 8)
fn present(@builtin(global_invocation_id) id: vec3<u32>) {
    let rows = (params.images + params.columns - 1u) / params.columns;
    if id.x >= params.columns * params.width || id.y >= rows * params.height {
        return;
    }
    let image = id.y / params.height * params.columns + id.x / params.width;
    if image >= params.images {
        textureStore(pixels, id.xy, vec4<f32>());
        return;
    }
    let pixel = (image * params.height + id.y % params.height) * params.width + id.x % params.width;
    //# if channels == 1
    let value = images[pixel] * params.scale + params.shift;
    textureStore(pixels, id.xy, vec4<f32>(value, value, value, 1.0));
    //# else
    let value = vec${channels}<f32>(
        //# for c in range(channels)
        images[pixel * ${channels}u + ${c}u],
        //# endfor
    ) * params.scale + params.shift;
    textureStore(pixels, id.xy, ${"value" if channels == 4 else "vec4<f32>(value, 1.0)"});
    //# endif
}
