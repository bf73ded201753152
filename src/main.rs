fn main() {
    let gpu = wgen::gpu::Gpu::new(&wgen::gpu::Choice::Auto).unwrap();
    eprintln!("{gpu:?} {:?}", gpu.caps());
    let filter = std::env::args().nth(1);
    let t = std::time::Instant::now();
    let report = wgen::verify::all(&gpu, &wgen::verify::Options { quick: true, filter }, |n| eprintln!("{n} {:?}", t.elapsed())).unwrap();
    for l in &report.lines { println!("{:16} {:5} {:.2e} {:8.2} {:.3} {}", l.name, l.cases, l.worst_relative, l.worst_ulp, l.worst_of_tolerance, l.passed);
      for f in &l.failures { println!("    {f}"); } }
    eprintln!("{:?}", t.elapsed());
}
