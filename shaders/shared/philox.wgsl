// Philox4x32-10 (Salmon et al. 2011). WGSL has no 64-bit product, so it is made of 16-bit halves.

//# include "shared/mul_wide.wgsl"


fn philox4x32(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = key;
    //# for round in range(10)
    //# if not loop.first
    k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    //# endif
    {
        let p = mul_wide(0xd2511f53u, c.x);
        let q = mul_wide(0xcd9e8d57u, c.z);
        c = vec4<u32>(q.y ^ c.y ^ k.x, q.x, p.y ^ c.w ^ k.y, p.x);
    }
    //# endfor
    return c;
}
