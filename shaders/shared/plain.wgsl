${wgsl}
