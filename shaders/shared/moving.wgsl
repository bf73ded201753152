// The entry point of a kernel that moves units: ${per_thread} an invocation, a workgroup apart, so that neighbours always take neighbouring ones. `move_unit` is
// the kernel's own.

@compute @workgroup_size(WORKGROUP)
fn ${entry}(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    //# if noise_kept is defined and noise_kept
    keep_noise();
    //# endif
    let first = (params.first_group + group.y * groups.x + group.x) * WORKGROUP * ${per_thread}u + local;
    //# for i in range(per_thread)
    if first + ${i}u * WORKGROUP < params.units {
        move_unit(first + ${i}u * WORKGROUP);
    }
    //# endfor
}
