// How an expression reads its operands for element `index` of its domain (the first of four where `real` is a vec4). A broadcast
// operand's index is a sum of (index / divisor) % modulus * stride over runs of axes, whose numbers are in `params.groups`.

//# macro source(operand)
fn source_${operand.name}(index: u32) -> u32 {
    var source = ${operand.base}u;
    //# for g in operand.groups
    source += index / params.groups[${g}].x % params.groups[${g}].y * params.groups[${g}].z;
    //# endfor
    return source;
}
//# endmacro
//# for operand in operands
//# if operand.access == "dense"
fn load_${operand.name}(index: u32) -> real {
    return real(${operand.name}[index${" / 4u" if operand.vector else ""}]);
}
//# elif operand.access == "dense_splat"
fn load_${operand.name}(index: u32) -> real {
    return real(f32(${operand.name}[index]));
}
//# elif operand.access == "scalar"
fn load_${operand.name}(index: u32) -> real {
    return real(f32(${operand.name}[${operand.base}u]));
}
//# elif operand.access == "row"
fn load_${operand.name}(index: u32) -> real {
    return real(${operand.name}[index % params.groups[${operand.groups[0]}].y / 4u]);
}
//# else
${source(operand)}
//# if operand.access == "gather"
fn load_${operand.name}(index: u32) -> real {
    return vec4<f32>(
        f32(${operand.name}[source_${operand.name}(index)]),
        f32(${operand.name}[source_${operand.name}(index + 1u)]),
        f32(${operand.name}[source_${operand.name}(index + 2u)]),
        f32(${operand.name}[source_${operand.name}(index + 3u)]),
    );
}
//# else
fn load_${operand.name}(index: u32) -> real {
    return real(f32(${operand.name}[source_${operand.name}(index)]));
}
//# endif
//# endif
//# endfor
