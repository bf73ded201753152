// norm = sqrt(sum of partials);   control = (min(1, max_norm / (norm + 1e-6)), refused?);   the step's figures to their ring
//
// Stands between the gradients and the update. partials: sums of squares of the gradients. If the loss or the norm is not finite
// (its exponent bits are all ones: NaN and Inf may not be compared portably) the step is refused: state.halted is raised and stays
// so, and every update leaves its buffers alone until the host has looked.
// metrics: the loss and ${(metrics | sum) - 1} figures beside it. ring: [ring_rows, 8], row step % ring_rows: metrics, norm in column 6,
// verdict in column 7. control: [4].
//
// ${"scaled: gradients are divided by the schedule's loss scale. " if scaled else ""}One workgroup of 64. Dispatch: (1, 1, 1).

struct Params {
    partials: u32,
    ring_rows: u32,
    max_norm: f32,  // 0: no clipping
}

@group(0) @binding(0) var<storage, read> partials: array<f32>;
//# set buffers = metrics | length
//# for i in range(buffers)
@group(0) @binding(${loop.index}) var<storage, read> metric${i}: array<f32>;
//# endfor
@group(0) @binding(${buffers + 1}) var<storage, read_write> state: array<u32>;
@group(0) @binding(${buffers + 2}) var<storage, read_write> control: array<f32>;
@group(0) @binding(${buffers + 3}) var<storage, read_write> ring: array<f32>;
//# if scaled
@group(0) @binding(${buffers + 4}) var<storage, read> schedule: array<f32>;
//# endif
@group(0) @binding(${buffers + (5 if scaled else 4)}) var<uniform> params: Params;

var<workgroup> sums: array<f32, 64>;

fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

@compute @workgroup_size(64)
fn guard(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
    for (var i = local; i < params.partials; i += 64u) {
        sum += partials[i];
    }
    sums[local] = sum;
    workgroupBarrier();
    if local != 0u {
        return;
    }
    var total = 0.0;
    for (var i = 0u; i < 64u; i++) {
        total += sums[i];
    }
    //# if scaled
    // The gradients are those of the scaled loss.
    let loss_scale = schedule[5];
    let norm = sqrt(total) / loss_scale;
    //# else
    let norm = sqrt(total);
    //# endif
    let halted_before = state[5] != 0u;
    let refused = halted_before || !is_finite(metric0[0]) || !is_finite(total);
    var scale = 1.0;
    if params.max_norm > 0.0 && is_finite(total) {
        scale = min(1.0, params.max_norm / (norm + 1e-6));
    }
    control[0] = scale${" / loss_scale" if scaled else ""};
    control[1] = select(0.0, 1.0, refused);
    control[2] = norm;
    control[3] = 0.0;
    if halted_before {
        return;  // the ring keeps the figures of the step that went bad
    }
    let row = state[0] % params.ring_rows * 8u;
    //# for i in range(6)
    //# set last = [i, buffers - 1] | min
    ring[row + ${i}u] = ${"metric" ~ last ~ "[" ~ (i - last) ~ "]" if i < metrics | sum else "0.0"};
    //# endfor
    ring[row + 6u] = norm;
    ring[row + 7u] = select(0.0, 1.0, refused);
    if refused {
        state[5] = 1u;
    }
}
