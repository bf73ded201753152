//# for binding in bindings
@group(0) @binding(${loop.index0}) var<storage, ${"read" if binding.access == "Read" else "read_write"}> ${binding.name}: array<${binding.wgsl}>;
//# endfor
@group(0) @binding(${bindings | length}) var<uniform> params: Params;
