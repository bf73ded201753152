// How an expression reads its operands for element `index` of its domain (the first of four where `real` is a vec4). A broadcast
// operand's index is a sum of (index / divisor) % modulus * stride over runs of axes, whose numbers are in `params.groups`.

//
// Where the result is made in tiles, a kernel says by `begin_columns` which column it stores next (of the first of four): a row that
// broadcasts is read then, and kept, and nobody divides by its length.

//# macro source(operand)
fn source_${operand.name}(index: u32) -> u32 {
    var source = ${operand.base}u${" + tile_column" if operand.column};
    //# for g in operand.groups
    source += index / params.groups[${g}].x${"" if loop.last and operand.open else " % params.groups[" ~ g ~ "].y"} * params.groups[${g}].z;
    //# endfor
    return source;
}
//# endmacro
//# if operands | selectattr("column") | list
var<private> tile_column: u32;
//# endif
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
//# elif operand.access == "row" and operand.column
var<private> row_of_${operand.name}: real;

fn load_${operand.name}(index: u32) -> real {
    return row_of_${operand.name};
}
//# elif operand.access == "row"
fn load_${operand.name}(index: u32) -> real {
    return real(${operand.name}[index % params.groups[${operand.groups[0]}].y / 4u]);
}
//# else
${source(operand)}
//# if operand.access == "rows"
fn load_${operand.name}(index: u32) -> real {
    return real(${operand.name}[source_${operand.name}(index) / 4u]);
}
//# elif operand.access == "gather"
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
//# if columns

fn begin_columns(column: u32) {
    //# if operands | selectattr("column") | list
    tile_column = column;
    //# endif
    //# for operand in operands if operand.access == "row" and operand.column
    row_of_${operand.name} = real(${operand.name}[column / 4u]);
    //# endfor
}
//# endif
