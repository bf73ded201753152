//# if stage == "vertex_counts"
// How many vertices of the surface density = threshold each point of a lattice owns: counts[p] = 0 .. 3
//
// A point owns the edges from it along +x, +y and +z, and on each that has one end inside (density > threshold) and the other not lies a vertex.
// So each is owned once, by whatever number of cubes it is used.
// counts: [points] u32.
//# elif stage == "triangle_counts"
// How many triangles the surface density = threshold has in the cube between each point of a lattice and its neighbours along +x, +y and +z
//
// counts: [points] u32, 0 where there is no such cube: at the lattice's last points along an axis.
//# elif stage == "vertices"
// The vertices of the surface density = threshold: of edges that have one end inside (density > threshold) and the other not
//
//   position = p + t e,   t = (threshold - density[p]) / (density[p + e] - density[p]),   e = x, y, z
//
// in units of the lattice, z counted from first_layer[0] on. Those of point p are rows base[p] .. base[p + 1], which scan makes of their counts, in
// the order of the axes; rows behind the last vertex are zero. t is rounded down to a multiple of 2^-24 by exact operations: the same bits everywhere.
// vertices: [capacity, 3] f32.
//# else
// The triangles of the surface density = threshold, as numbers of its vertices, seen counterclockwise from where the density is less
//
// Those of the cube behind point p are rows triangle_base[p] .. triangle_base[p + 1], which scan makes of their counts; rows behind the last triangle
// are zero. The vertex on the edge from point q along an axis is number vertex_base[q], and one more for each edge of q before that axis that has
// a vertex: no list of vertices is searched, and neighbouring cubes share them.
// triangles: [capacity, 3] u32.
//# endif
//
// density: [points] f32, p = x + columns (y + rows z); threshold: [1] f32.
//# if stage in ["triangle_counts", "triangles"]
// table: [3 * 256] u32, three words for each set of a cube's corners inside: see src/kernels/marching_cubes/table.rs.
//# endif
//
// Lorensen & Cline 1987, "Marching cubes", with a table whose cubes agree on every face that they share.
// One invocation a point. Dispatch: ceil(${"points" if stage in ["vertex_counts", "triangle_counts"] else "max(points, capacity / 64)"} / WORKGROUP), folded into x and y.
// Cost: about 20 integer operations${" and 8 bytes a point" if stage in ["vertex_counts", "triangle_counts"] else " and 8 bytes a point, 80 and 12 a row"}.

override WORKGROUP: u32 = 64u;

struct Params {
    columns: u32,      // points along x
    rows: u32,         // along y
    layers: u32,       // along z
    capacity: u32,
    invocations: u32,  // those that clear what lies behind the last row
    first_group: u32,  // workgroups of the line before this dispatch
}

//# include "shared/bindings.wgsl"

fn is_inside(point: u32) -> bool {
    return density[point] > threshold[0];
}

fn sizes() -> vec3<u32> {
    return vec3<u32>(params.columns, params.rows, params.layers);
}

// From a point to the next along each axis.
fn strides() -> vec3<u32> {
    return vec3<u32>(1u, params.columns, params.columns * params.rows);
}

fn place_of(point: u32) -> vec3<u32> {
    return vec3<u32>(
        point % params.columns,
        point / params.columns % params.rows,
        point / (params.columns * params.rows),
    );
}
//# if stage != "triangle_counts"

// Whether the surface crosses the edge from a point along an axis.
fn crosses(point: u32, place: vec3<u32>, axis: u32) -> bool {
    if place[axis] + 1u >= sizes()[axis] {
        return false;
    }
    return is_inside(point) != is_inside(point + strides()[axis]);
}
//# endif
//# if stage in ["triangle_counts", "triangles"]

// A corner of the cube behind a point.
fn corner_of(point: u32, corner: u32) -> u32 {
    let along = strides();
    return point + (corner & 1u) * along.x + ((corner >> 1u) & 1u) * along.y + (corner >> 2u) * along.z;
}

// Which corners of the cube behind a point are inside: bit x + 2 y + 4 z. None where there is no cube.
fn corners_inside(point: u32) -> u32 {
    let place = place_of(point);
    if any(place + 1u >= sizes()) {
        return 0u;
    }
    var corners = 0u;
    for (var corner = 0u; corner < 8u; corner++) {
        corners |= u32(is_inside(corner_of(point, corner))) << corner;
    }
    return corners;
}

fn triangles_of(corners: u32) -> u32 {
    return table[3u * corners + 2u] >> 16u;
}
//# endif
//# if stage == "vertex_counts"

@compute @workgroup_size(WORKGROUP)
fn cube_vertex_counts(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let point = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if point >= params.columns * params.rows * params.layers {
        return;
    }
    let place = place_of(point);
    var count = 0u;
    for (var axis = 0u; axis < 3u; axis++) {
        count += u32(crosses(point, place, axis));
    }
    counts[point] = count;
}
//# elif stage == "triangle_counts"

@compute @workgroup_size(WORKGROUP)
fn cube_triangle_counts(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let point = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if point >= params.columns * params.rows * params.layers {
        return;
    }
    counts[point] = triangles_of(corners_inside(point));
}
//# elif stage == "vertices"

// (value - from) / (to - from) for a value between the two, rounded down to a multiple of 2^-24 and below 1. A device's division may err by two
// units in the last place, each in its own way. This is long division: doubling is exact, and so is r - d for d <= r <= 2 d.
fn share(from_value: f32, to_value: f32, value: f32) -> f32 {
    let divisor = abs(to_value - from_value);
    var rest = abs(value - from_value);
    var quotient = 0u;
    for (var bit = 0u; bit < 24u; bit++) {
        rest *= 2.0;
        quotient *= 2u;
        if rest >= divisor {
            rest -= divisor;
            quotient += 1u;
        }
    }
    return f32(quotient) * 0x1p-24f;
}

@compute @workgroup_size(WORKGROUP)
fn cube_vertices(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let point = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    let points = params.columns * params.rows * params.layers;
    if point < points {
        let place = place_of(point);
        let along = strides();
        var row = base[point];
        for (var axis = 0u; axis < 3u; axis++) {
            if !crosses(point, place, axis) {
                continue;
            }
            if row < params.capacity {
                var position = vec3<f32>(place);
                position.z += first_layer[0];
                position[axis] += share(density[point], density[point + along[axis]], threshold[0]);
                vertices[3u * row] = position.x;
                vertices[3u * row + 1u] = position.y;
                vertices[3u * row + 2u] = position.z;
            }
            row++;
        }
    }
    if point < params.invocations {
        for (var row = base[points] + point; row < params.capacity; row += params.invocations) {
            vertices[3u * row] = 0.0;
            vertices[3u * row + 1u] = 0.0;
            vertices[3u * row + 2u] = 0.0;
        }
    }
}
//# else

// The number of the vertex on an edge of the cube behind a point: corner + 8 axis, from that corner along that axis.
fn vertex_on(point: u32, edge: u32) -> u32 {
    let axis = edge >> 3u;
    let owner = corner_of(point, edge & 7u);
    let place = place_of(owner);
    var vertex = vertex_base[owner];
    for (var before = 0u; before < axis; before++) {
        vertex += u32(crosses(owner, place, before));
    }
    return vertex;
}

@compute @workgroup_size(WORKGROUP)
fn cube_triangles(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let point = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    let points = params.columns * params.rows * params.layers;
    if point < points {
        let corners = corners_inside(point);
        let count = triangles_of(corners);
        for (var i = 0u; i < count; i++) {
            let row = triangle_base[point] + i;
            if row >= params.capacity {
                break;
            }
            let edges = table[3u * corners + i / 2u] >> (i % 2u * 15u);
            triangles[3u * row] = vertex_on(point, edges & 31u);
            triangles[3u * row + 1u] = vertex_on(point, (edges >> 5u) & 31u);
            triangles[3u * row + 2u] = vertex_on(point, (edges >> 10u) & 31u);
        }
    }
    if point < params.invocations {
        for (var row = triangle_base[points] + point; row < params.capacity; row += params.invocations) {
            triangles[3u * row] = 0u;
            triangles[3u * row + 1u] = 0u;
            triangles[3u * row + 2u] = 0u;
        }
    }
}
//# endif
