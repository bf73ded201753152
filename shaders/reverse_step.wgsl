// A reverse step of diffusion: whatever the sampler, it is linear in x, the prediction of x_0 and what is known of earlier steps.
//
//   mean = mean_x0 x_0 + mean_x x${" + mean_p p" if prediction else ""}${" + mean_previous previous" if previous else ""}${" + mean_kept kept" if kept else ""}${" + mean_gradient exp(log_variance) gradient" if gradient else ""}
//   out = mean + noise exp(log_variance / 2) z,   z ~ N(0, 1)
//
//# if guided
// p = u + guidance (c - u): classifier-free guidance (Ho & Salimans 2022, eq. 6), c the first half of the prediction's rows, u the second.
//# elif prediction
// p is the prediction.
//# endif
//# if learned
// log_variance = min + (v + 1) / 2 (max - min), v the second half of the prediction's channels (Nichol & Dhariwal 2021, eq. 15).
//# else
// log_variance = min_log_variance.
//# endif
//# if previous
// previous is x_0 as the step before predicted it.
//# endif
//# if kept
// kept is what the step before has kept for this one.
//# endif
//# if gradient
// gradient is that of a classifier's log-probability by x (Dhariwal & Nichol 2021, algorithm 1).
//# endif
// x, x0, out${", what is of earlier steps" if previous or kept else ""}${", gradient" if gradient else ""}: [batch, pixels, channels]; step: ${columns} coefficients, in the order of the constants below.
//# if prediction
// prediction: [${"2 " if guided else ""}batch, pixels, ${"2 " if learned else ""}channels].
//# endif
//
// One invocation makes four consecutive elements of one example, whose noise does not depend on the batch it is in.
// Dispatch: ceil(batch * ceil(width / 4) / WORKGROUP), folded into x and y.
// Cost: about 60 flops and 12 bytes an element, 4 more for each further operand.

override WORKGROUP: u32 = 64u;

struct Params {
    units: u32,
    batch: u32,
    width: u32,        // pixels * channels
    channels: u32,
    stream: u32,       // hash of the node's name
    first_group: u32,  // workgroups of the line before this dispatch
}

//# for name in columns_by_name
const ${name}: u32 = ${loop.index0}u;
//# endfor

//# include "shared/bindings.wgsl"
//# if not given
//# include "shared/noise.wgsl"
//# endif

@compute @workgroup_size(WORKGROUP)
fn reverse_step(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let unit = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if unit >= params.units {
        return;
    }
    let quads = (params.width + 3u) / 4u;
    let row = unit / quads;
    let first = unit % quads * 4u;
    //# if not given
    // The draw is the step's place in the whole process, so that x and noise of an example are the same however steps are submitted.
    let counter = vec4<u32>(first / 4u, state[4] + row, u32(step[DRAW]), params.stream);
    let words = philox4x32(counter, vec2<u32>(state[2], state[3]));
    let z = vec4<f32>(box_muller(words.xy), box_muller(words.zw));
    //# endif
    for (var i = 0u; i < min(4u, params.width - first); i++) {
        let column = first + i;
        let e = row * params.width + column;
        var mean = step[MEAN_X0] * x0[e] + step[MEAN_X] * x[e];
        //# if prediction
        //# if learned
        let at = 2u * (e - column % params.channels) + column % params.channels;
        //# else
        let at = e;
        //# endif
        //# if guided
        let unguided = prediction[at + params.batch * params.width${" * 2u" if learned else ""}];
        let p = unguided + step[GUIDANCE] * (prediction[at] - unguided);
        //# else
        let p = prediction[at];
        //# endif
        mean += step[MEAN_P] * p;
        //# endif
        //# if previous
        mean += step[MEAN_PREVIOUS] * previous[e];
        //# endif
        //# if kept
        mean += step[MEAN_KEPT] * kept[e];
        //# endif
        //# if learned
        let share = 0.5 * (prediction[at + params.channels] + 1.0);
        let log_variance = step[MIN_LOG_VARIANCE] + share * (step[MAX_LOG_VARIANCE] - step[MIN_LOG_VARIANCE]);
        //# else
        let log_variance = step[MIN_LOG_VARIANCE];
        //# endif
        //# if gradient
        mean += step[MEAN_GRADIENT] * exp(log_variance) * gradient[e];
        //# endif
        out[e] = mean + step[NOISE] * exp(0.5 * log_variance) * ${"noise[e]" if given else "z[i]"};
    }
}
