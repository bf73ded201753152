struct Scene { project: mat4x4<f32>, near: f32, far: f32 }
@group(0) @binding(0) var colour: texture_2d<f32>;
@group(0) @binding(1) var depth: texture_2d<f32>;
@group(0) @binding(2) var<uniform> scene: Scene;

struct Corner {
    @builtin(position) position: vec4<f32>,
    @location(0) uv: vec2<f32>,
}

@vertex
fn corner(@builtin(vertex_index) i: u32) -> Corner {
    let uv = vec2<f32>(f32(i & 1u), f32(i >> 1u));
    return Corner(vec4<f32>(uv.x * 2.0 - 1.0, 1.0 - uv.y * 2.0, 0.0, 1.0), uv);
}

struct Seen { @location(0) colour: vec4<f32>, @builtin(frag_depth) depth: f32 }

// Depths are along the camera's axis, 0 where nothing is.
@fragment
fn shade(in: Corner) -> Seen {
    let size = vec2<f32>(textureDimensions(colour));
    let at = vec2<u32>(min(in.uv, vec2<f32>(0.99999)) * size);
    let z = textureLoad(depth, at, 0).x;
    let ndc = scene.far / (scene.far - scene.near) * (1.0 - scene.near / max(z, scene.near));
    return Seen(textureLoad(colour, at, 0), select(ndc, 1.0, z <= scene.near));
}

struct Edge {
    @builtin(position) position: vec4<f32>,
    @location(0) colour: vec3<f32>,
}

// Cubes on a circle around the field: 36 corners each.
@vertex
fn cube(@builtin(vertex_index) i: u32, @builtin(instance_index) n: u32) -> Edge {
    let face = i / 6u;
    let bits = array<u32, 6>(0u, 1u, 2u, 2u, 1u, 3u)[i % 6u];
    let uv = vec2<f32>(f32(bits & 1u), f32(bits >> 1u)) - 0.5;
    let side = select(-0.5, 0.5, face % 2u == 1u);
    var p = vec3<f32>(uv, side);
    if face / 2u == 1u { p = p.zxy; }
    if face / 2u == 2u { p = p.yzx; }
    let angle = f32(n) * 1.0471976;
    let place = vec3<f32>(1.25 * cos(angle), 1.25 * sin(angle), -0.45) + 0.22 * p;
    let shade = array<f32, 3>(0.6, 0.8, 1.0)[face / 2u];
    return Edge(scene.project * vec4<f32>(place, 1.0), shade * vec3<f32>(0.95, 0.6, 0.2));
}

@fragment
fn flat_shade(in: Edge) -> @location(0) vec4<f32> {
    return vec4<f32>(in.colour, 1.0);
}
