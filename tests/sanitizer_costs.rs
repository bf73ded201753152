//! What kernels say that they must do beside what the sanitizer counts: floating point operations at whole tiles within 5 %, bytes of buffers, each once,
//! within 5 %. How much more odd sizes cost is printed (`--nocapture`).

use wgen::kernels::attention::{Attention, Mode, Sizes};
use wgen::kernels::conv2d::{Conv2d, Direction, Geometry};
use wgen::kernels::matmul::{Layout, Matmul};
use wgen::kernels::reduce::{Combine, Reduce};
use wgen::kernels::{Access, Caps, devices};
use wgen::reference::Twin;
use wgen::sanitize::{Options, Order};
use wgen::verify::cases::{Values, numbers, unwritten};
use wgen::verify::{Sanitized, Sanitizer};

/// Devices whose first choices differ.
fn all_caps() -> Vec<(&'static str, Caps)> {
    let software = Caps {
        software: true,
        subgroup_min_size: 8,
        subgroup_max_size: 8,
        ..Caps::portable()
    };
    // Of one size of subgroups: where they may be narrower, those that are spare do again what others do.
    let matrix_units = Caps {
        half_products: true,
        ..devices::find("nvidia").expect("a family").caps.clone()
    };
    let families = devices::ALL.iter().map(|f| (f.name, f.caps.clone()));
    let others = [("software", software), ("matrix units", matrix_units)];
    families.chain(others).collect()
}

fn counted(kernel: &dyn Twin) -> Sanitized {
    let bindings = kernel.bindings().into_iter().enumerate();
    let inputs: Vec<_> = bindings
        .map(|(i, b)| match b.access {
            Access::Write => unwritten(b.dtype),
            _ => numbers(Values::Normal, i as u64, b.count),
        })
        .collect();
    // What is counted hangs on no order, and not on the size of subgroups.
    let options = Options {
        orders: vec![Order::Forward],
        subgroup_sizes: vec![8, 32, 64],
        zeroed_workgroup_memory: false,
        ..Options::default()
    };
    let sanitizer = Sanitizer::default().options(options);
    let sanitized = sanitizer.kernel(kernel, &inputs).expect("a kernel of ours");
    sanitized.expect();
    sanitized
}

/// Counted by said: flops, bytes once, bytes however often.
fn ratios(name: &str, what: &str, kernel: &dyn Twin) -> [f64; 3] {
    let sanitized = counted(kernel);
    let (counts, cost) = (sanitized.counts, sanitized.cost);
    let bytes = (counts.distinct_read + counts.distinct_written) as f64;
    let moved = (counts.bytes_loaded + counts.bytes_stored) as f64;
    let all = [
        counts.flops as f64 / cost.flops,
        bytes / cost.bytes,
        moved / cost.bytes,
    ];
    let [flops, bytes, moved] = all;
    let variant = kernel.variant();
    println!("{name:<13} {what:<34} {flops:.3} {bytes:.3} {moved:.2}  {variant}");
    all
}

fn within(name: &str, what: &str, kernel: &dyn Twin) {
    let [flops, bytes, moved] = ratios(name, what, kernel);
    let near = |ratio: f64| (0.95..=1.05).contains(&ratio);
    let variant = kernel.variant();
    assert!(near(flops), "{what} on {name}, {variant}: flops {flops}");
    assert!(near(bytes), "{what} on {name}, {variant}: bytes {bytes}");
    // Everything that is touched is moved at least once.
    assert!(moved >= bytes, "{what} on {name}: moved {moved}");
}

#[test]
fn products_cost_what_they_say_at_whole_tiles() {
    for (name, caps) in all_caps() {
        for layout in [Layout::Nn, Layout::Nt, Layout::Tn] {
            let of = |m, n, k| Matmul::new(&caps, layout, 1, m, n, k).expect("a product");
            let what = |size: &str| format!("{} {size}", layout.name());
            within(name, &what("256 x 256 x 64"), &of(256, 256, 64));
            // Odd sizes are rounded up to tiles.
            ratios(name, &what("67 x 45 x 31"), &of(67, 45, 31));
        }
    }
}

#[test]
fn convolutions_cost_what_they_say_at_whole_tiles() {
    for (name, caps) in all_caps() {
        // No padding: a tap that lies outside of the image is a load that is left out. 32 pixels a row of results: a whole block of the sum on matrix units.
        let geometry = Geometry::square(1, 34, 64, 64, [3, 1, 0]);
        for direction in [Direction::Forward, Direction::Weight] {
            let kernel = Conv2d::new(&caps, geometry, direction).expect("a convolution");
            within(name, &format!("{direction:?} 34 x 34, 64 to 64"), &kernel);
        }
        for direction in [Direction::Forward, Direction::Input, Direction::Weight] {
            let geometry = Geometry::square(1, 7, 5, 11, [3, 1, 1]);
            let kernel = Conv2d::new(&caps, geometry, direction).expect("a convolution");
            ratios(name, &format!("{direction:?} 7 x 7, 5 to 11"), &kernel);
        }
    }
}

#[test]
fn attention_costs_what_it_says_at_whole_tiles() {
    let sizes = Sizes {
        batch: 1,
        queries: 128,
        keys: 128,
        heads: 2,
        size: 64,
    };
    for (name, caps) in all_caps() {
        for mode in [
            Mode::Forward,
            Mode::LogSums,
            Mode::ByQuery,
            Mode::ByKey,
            Mode::ByValue,
        ] {
            let what = format!("{mode:?} 128 x 128, 2 of 64");
            within(name, &what, &Attention::new(&caps, sizes, mode));
            let odd = Sizes {
                queries: 67,
                keys: 45,
                size: 38,
                ..sizes
            };
            let what = format!("{mode:?} 67 x 45, 2 of 38");
            ratios(name, &what, &Attention::new(&caps, odd, mode));
        }
    }
}

#[test]
fn reductions_cost_what_they_say() {
    for (name, caps) in all_caps() {
        for combine in [Combine::Sum, Combine::Max] {
            // So long that the tree in which lanes are combined is little beside them.
            for (outer, length, inner) in [(2, 32_768, 1), (1, 8192, 64), (8, 2048, 16)] {
                let what = format!("{} [{outer}, {length}, {inner}]", combine.name());
                let kernel = Reduce::new(&caps, combine, outer, length, inner);
                within(name, &what, &kernel);
            }
            let what = format!("{} [3, 37, 5]", combine.name());
            ratios(name, &what, &Reduce::new(&caps, combine, 3, 37, 5));
        }
    }
}
