// What the update kernels share: the flat buffers of a segment, four floats a unit, and the step's schedule and verdict.

override WORKGROUP: u32 = 64u;

fn unit_of(id: vec3<u32>, groups: vec3<u32>) -> u32 {
    return (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
}
