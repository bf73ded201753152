// What a network's prediction says of the images without noise:
//
//   out = clamp(x0_x x + x0_p p, -clip, clip)
//# if gradient
//   then moved along a classifier's gradient by x (Dhariwal & Nichol 2021, algorithm 2): clamp(out + x0_gradient gradient, -clip_again, clip_again)
//# endif
//
//# if guided
// p = u + guidance (c - u): classifier-free guidance (Ho & Salimans 2022, eq. 6), c the first half of the prediction's rows, u the second.
//# else
// p is the prediction.
//# endif
// x, out${", gradient" if gradient else ""}: [batch, pixels, channels]; prediction: [${"2 " if guided else ""}batch, pixels, ${"2 " if learned else ""}channels]${", the second half of the channels not read" if learned else ""}; step: ${columns} coefficients, in the order of the constants below.
//
// One invocation makes one element. Dispatch: ceil(count / WORKGROUP), folded into x and y.
// Cost: about 10 flops and 12 bytes an element.

override WORKGROUP: u32 = 64u;

struct Params {
    count: u32,
    channels: u32,
    first_group: u32,  // workgroups of the line before this dispatch
}

//# for name in columns_by_name
const ${name}: u32 = ${loop.index0}u;
//# endfor

//# include "shared/bindings.wgsl"

@compute @workgroup_size(WORKGROUP)
fn predict_x0(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let e = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if e >= params.count {
        return;
    }
    //# if learned
    let at = 2u * (e - e % params.channels) + e % params.channels;
    //# else
    let at = e;
    //# endif
    //# if guided
    let unguided = prediction[at + params.count${" * 2u" if learned else ""}];
    let p = unguided + step[GUIDANCE] * (prediction[at] - unguided);
    //# else
    let p = prediction[at];
    //# endif
    let x0 = clamp(step[X0_X] * x[e] + step[X0_P] * p, -step[CLIP], step[CLIP]);
    //# if gradient
    out[e] = clamp(x0 + step[X0_GRADIENT] * gradient[e], -step[CLIP_AGAIN], step[CLIP_AGAIN]);
    //# else
    out[e] = x0;
    //# endif
}
