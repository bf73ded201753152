//# set all = "cascades side^3" if cascades > 1 else "side^3"
//# if stage == "all"
// cells[i] = i: every cell of an occupancy grid is looked at
//
// cells: [count] u32, count = ${all}.
//# elif stage == "pick"
// Which cells of an occupancy grid are looked at in a step: in the first ${early} all of them wherever they lie, then half, and half where something is
//
//   i < n:  cell = ((i + step n) 56924617 + 96925573) mod side^3,   n = count, from step ${early} on count / 2
//   else:   the first of ten random cells with value > threshold, or the tenth
//# if cascades > 1
// with (i + step n) / cascades in place of i + step n, whose rest says in which of the ${cascades} cascades that cell is.
//# endif
//
// An odd factor modulo a power of two permutes: side^3 / n steps look at every cell once (Mueller et al. 2022, instant-ngp's constants; there every
// 16 steps a quarter and a quarter of all cells, here as many in each step as come to that). Random words are Philox's: the counter is (3 (i - n) + try / 4, step low, step high, stream), the word try % 4.
// values: [${all}] f32, threshold: [1] f32, cells: [count] u32.
//# elif stage == "points"
// A random point in each cell: points[i] = (corner + u) / side,   u in [0, 1)^3
//# if cascades > 1
// in the cube of the cell's cascade: cascade c of ${cascades} has side 2^(c - (cascades - 1)) around the unit cube's middle.
//# endif
//
// u is a multiple of 2^-15, so that corner + u is exact for a side up to 512 and no point is rounded into the next cell. Its words are Philox's, the
// counter is (i, step low, step high, stream).
// cells: [count] u32, points: [count, 3] f32.
//# elif stage == "clear"
// fresh = 0: [${all}] u32
//# elif stage == "largest"
// fresh[cell] = the largest new value at the cell, as bits; 0 where there is none
//
// Bits of floats that are not negative are in the order of the floats, and the largest does not depend on the order in which it is found.
// cells: [count] u32, those from ${all} on are none; thickness: [count] f32, what is not above 0 counts as 0; fresh: [${all}] u32.
//# elif stage == "merge"
// out = max(decay value, fresh); what no camera sees is below 0, and stays
//
// values: [${all}] f32, fresh: [${all}] u32, bits of f32, out: [${all}] f32.
//# else
// bits: cell c is bit c % 32 of word c / 32, 1 where value > threshold
//
// values: [${all}] f32, threshold: [1] f32, bits: [${all} / 32] u32.
//# endif
//
// A cell is x + side (y + side ${"(z + side cascade))" if cascades > 1 else "z)"}; the value of one is the optical thickness of a step in it.
// One invocation ${"a word" if stage == "bits" else "an element"}. Dispatch: ceil(${all ~ " / 32" if stage == "bits" else "elements"} / WORKGROUP), folded into x and y.
// Cost: ${"about 200 integer operations and 16 bytes" if stage in ["pick", "points"] else "at most 2 operations and 12 bytes"} an element.

override WORKGROUP: u32 = 64u;

struct Params {
    units: u32,        // invocations that have something to do
    side: u32,         // cells along an axis, a power of two
    stream: u32,       // hash of the node's name
    decay: f32,
    first_group: u32,  // workgroups of the line before this dispatch
}

//# include "shared/bindings.wgsl"
//# if stage in ["pick", "points"]
//# include "shared/philox.wgsl"

fn words(block: u32) -> vec4<u32> {
    let seed = vec2<u32>(state[2], state[3]);
    return philox4x32(vec4<u32>(block, state[0], state[1], params.stream), seed);
}
//# endif
//# if stage == "pick"

fn random_cell(i: u32) -> u32 {
    //# if cascades > 1
    let cells = ${cascades}u * params.side * params.side * params.side;
    //# else
    let cells_but_one = params.side * params.side * params.side - 1u;
    //# endif
    var cell: u32;
    var four: vec4<u32>;
    for (var attempt = 0u; attempt < 10u; attempt++) {
        if attempt % 4u == 0u {
            four = words(3u * i + attempt / 4u);
        }
        //# if cascades > 1
        cell = four[attempt % 4u] % cells;
        //# else
        cell = four[attempt % 4u] & cells_but_one;
        //# endif
        if values[cell] > threshold[0] {
            break;
        }
    }
    return cell;
}
//# endif

@compute @workgroup_size(WORKGROUP)
fn occupancy_${stage}(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if i >= params.units {
        return;
    }
    //# if stage == "all"
    cells[i] = i;
    //# elif stage == "pick"
    let n = select(params.units / 2u, params.units, state[1] == 0u && state[0] < ${early}u);
    if i < n {
        // Modulo a power of two the step's low word is enough.
        let within = params.side * params.side * params.side - 1u;
        //# if cascades > 1
        let number = i + state[0] * n;
        let cell = ((number / ${cascades}u) * 56924617u + 96925573u) & within;
        cells[i] = cell + (within + 1u) * (number % ${cascades}u);
        //# else
        cells[i] = ((i + state[0] * n) * 56924617u + 96925573u) & within;
        //# endif
    } else {
        cells[i] = random_cell(i - n);
    }
    //# elif stage == "points"
    let cell = cells[i];
    //# if cascades > 1
    let corner = vec3<u32>(cell % params.side, cell / params.side % params.side, cell / params.side / params.side % params.side);
    let cascade = cell / params.side / params.side / params.side;
    //# else
    let corner = vec3<u32>(cell % params.side, cell / params.side % params.side, cell / params.side / params.side);
    //# endif
    let u = vec3<f32>(words(i).xyz >> vec3<u32>(17u)) * 0x1p-15f;
    // A product with a power of two: exact.
    //# if cascades > 1
    let point = ((vec3<f32>(corner) + u) * (1.0 / f32(params.side)) - 0.5) / f32(1u << (${cascades - 1}u - min(cascade, ${cascades - 1}u))) + 0.5;
    //# else
    let point = (vec3<f32>(corner) + u) * (1.0 / f32(params.side));
    //# endif
    points[3u * i] = point.x;
    points[3u * i + 1u] = point.y;
    points[3u * i + 2u] = point.z;
    //# elif stage == "clear"
    fresh[i] = 0u;
    //# elif stage == "largest"
    let cell = cells[i];
    if cell < ${cascades ~ "u * " if cascades > 1 else ""}params.side * params.side * params.side {
        // Of numbers from 0 on the larger has the larger bits.
        atomicMax(&fresh[cell], bitcast<u32>(max(thickness[i], 0.0)));
    }
    //# elif stage == "merge"
    let value = values[i];
    out[i] = select(max(params.decay * value, bitcast<f32>(fresh[i])), value, value < 0.0);
    //# else
    var word = 0u;
    for (var bit = 0u; bit < 32u; bit++) {
        if values[32u * i + bit] > threshold[0] {
            word |= 1u << bit;
        }
    }
    bits[i] = word;
    //# endif
}
