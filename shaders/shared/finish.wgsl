// What happens to a finished value before it is stored: the epilogue's expression, of `accumulator` and of operands read at `index`.

//# include "shared/operands.wgsl"
//# if random
//# include "shared/noise_terms.wgsl"
//# endif
//# include "shared/functions.wgsl"

fn finish(index: u32, accumulator: real) {
    //# for line in lines
    ${line}
    //# endfor
    //# for result in results
    //# set name = "out" ~ loop.index0
    //# set place = name ~ "[index" ~ (" / 4u]" if store == "vector" else "]")
    //# for binding in bindings if binding.name == name
    ${place} = ${binding.wgsl}(${result}${".x" if store == "splat" else ""}${" + " ~ place if accumulate else ""});
    //# endfor
    //# endfor
}
