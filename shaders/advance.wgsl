// step = step + 1,   cursor = cursor + batch,   schedule = table[step % table_rows, :]
//
// Ends a step: counters move on and the next step's row of the schedule is made current, so that a recorded step can be replayed.
// A refused step (state.halted) is not left.
// table: [table_rows, columns], schedule: [columns], state: see src/kernels/mod.rs.
//
// Dispatch: (1, 1, 1), one invocation.

struct Params {
    batch: u32,
    table_rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<storage, read> table: array<f32>;
@group(0) @binding(1) var<storage, read_write> schedule: array<f32>;
@group(0) @binding(2) var<storage, read_write> state: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(1)
fn advance() {
    if state[5] != 0u {
        return;
    }
    let low = state[0] + 1u;
    if low == 0u {
        state[1] += 1u;
    }
    state[0] = low;
    state[4] += params.batch;
    let row = low % params.table_rows * params.columns;
    for (var column = 0u; column < params.columns; column++) {
        schedule[column] = table[row + column];
    }
}
