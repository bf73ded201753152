//! Prefix sums of samples and the occupancy grid against NumPy and PyTorch, and how its cells are drawn. `tests/golden/nerf_march.py` writes the tensors.

mod common;

use common::graphs::{Leaves, context, on_cpu, on_gpu};
use common::{golden, gpu, relative_difference};
use wgen::graph::Graph;
use wgen::kernels::philox::Domain;
use wgen::real::Precision;
use wgen::tensor::{TensorType, Value};
use wgen::verify::cases::{Values, numbers};

#[test]
fn prefix_sums_and_the_grid_agree_with_numpy_and_pytorch() {
    let tensors = golden("nerf_march");
    let gpu = gpu();
    for name in ["scan/all", "scan/but_one", "scan/half", "scan/none"] {
        let of = |key: &str| tensors[&format!("{name}/{key}")].clone();
        let (counts, options) = (of("counts"), of("options"));
        let &[capacity, samples] = options.data.as_u32() else {
            panic!("{options:?}");
        };
        let graph = Graph::new(Domain::Training);
        let base = graph
            .input("counts", counts.tensor_type())
            .scan(capacity as usize);
        graph.output("base", base);
        graph.output("ray", base.ray_of(samples as usize));
        let leaves = vec![("counts", counts)];
        let cx = context(Precision::F64, 0);
        let cpu = on_cpu(&graph, &["base", "ray"], &leaves, &cx);
        for values in [cpu, on_gpu(&gpu, &graph, &["base", "ray"], &leaves, &cx)] {
            assert_eq!(values[0].data, of("base").data, "{name}");
            assert_eq!(values[1].data, of("ray").data, "{name}");
        }
    }
    let of = |key: &str| tensors[&format!("grid/{key}")].clone();
    let graph = Graph::new(Domain::Training);
    let input = |key: &str| graph.input(key, of(key).tensor_type());
    let merged = input("values").occupancy_merge(input("cells"), input("thickness"), 0.95);
    graph.output("merged", merged);
    let threshold = merged.max(graph.constant(0.0)).mean(&[0]);
    let threshold = threshold.min(graph.constant(0.01));
    graph.output("bits", merged.occupancy_bits(threshold));
    let leaves: Leaves = ["values", "cells", "thickness"]
        .map(|key| (key, of(key)))
        .to_vec();
    let cx = context(Precision::F64, 0);
    let cpu = on_cpu(&graph, &["merged", "bits"], &leaves, &cx);
    let got = on_gpu(&gpu, &graph, &["merged", "bits"], &leaves, &cx);
    let expected = of("merged").data.to_f64();
    // The decay is an f32.
    for (values, within) in [(&cpu, 3e-8), (&got, 2e-7)] {
        assert!(relative_difference(&values[0].data.to_f64(), &expected) < within);
        assert_eq!(values[1].data, of("bits").data);
    }
    for (update, cells) in of("permuted").data.as_u32().chunks(128).enumerate() {
        let graph = Graph::new(Domain::Training);
        let threshold = graph.constant(0.5);
        let cells_of = graph
            .input("values", of("values").tensor_type())
            .occupancy_cells("cells", threshold, 256);
        graph.output("cells", cells_of);
        // A constant in memory, as an operand and as a result.
        graph.output("threshold", threshold);
        let leaves = vec![("values", of("values"))];
        // Behind the first steps, in which all are permuted.
        let cx = context(Precision::F32, 256 + update as u64);
        let cpu = on_cpu(&graph, &["cells"], &leaves, &cx);
        assert_eq!(cpu[0].data.as_u32()[..128], *cells);
        let got = on_gpu(&gpu, &graph, &["cells", "threshold"], &leaves, &cx);
        assert_eq!(got[0], cpu[0]);
        assert_eq!(got[1].data.to_f64(), [0.5]);
    }
}

#[test]
fn cells_and_points_are_drawn_as_they_say() {
    let side = 16;
    let graph = Graph::new(Domain::Training);
    {
        let values = graph.input("values", TensorType::f32([side * side * side]));
        let cells = values.occupancy_cells("cells", graph.constant(0.9), side.pow(3) / 2);
        graph.output("cells", cells);
        graph.output("points", cells.occupancy_points("points", side, 1));
        graph.output("all", values.occupancy_all_cells());
    }
    let values = numbers(Values::Positive, 3, side.pow(3)).to_f32();
    let leaves = vec![("values", Value::f32([side.pow(3)], values.clone()).unwrap())];
    let (mut seen, mut drawn) = (vec![0; side.pow(3)], vec![0_u32; side.pow(3)]);
    let mut misses = 0;
    for update in 0..4 {
        let cx = context(Precision::F64, update + 1232);
        let got = on_cpu(&graph, &["cells", "points", "all"], &leaves, &cx);
        let (cells, points) = (got[0].data.as_u32(), got[1].data.to_f64());
        let (permuted, occupied) = cells.split_at(cells.len() / 2);
        permuted.iter().for_each(|&c| seen[c as usize] += 1);
        for &cell in occupied {
            misses += u32::from(values[cell as usize] <= 0.9);
            drawn[cell as usize] += 1;
        }
        for (&cell, point) in cells.iter().zip(points.chunks(3)) {
            let at = [0, 1, 2].map(|a| (point[a] * side as f64).floor() as usize);
            assert_eq!(cell as usize, at[0] + side * (at[1] + side * at[2]));
        }
        let inside: Vec<f64> = points.iter().map(|p| p * side as f64 % 1.0).collect();
        let mean = inside.iter().sum::<f64>() / inside.len() as f64;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        let all: Vec<u32> = (0..side.pow(3) as u32).collect();
        assert_eq!(got[2].data.as_u32(), all);
    }
    assert!(seen.iter().all(|&n| n == 1), "each cell in four updates");
    // A fifth is above: ten tries miss with 0.8^10 = 0.107.
    let share = f64::from(misses) / 4096.0;
    assert!((share - 0.107).abs() < 0.03, "{share}");
    // 4,096 draws, 3,657 of them among about 819 cells: hardly one is left out, none has far too many.
    let above = |c: &usize| values[*c] > 0.9;
    let left = (0..side.pow(3)).filter(|c| above(c) && drawn[*c] == 0);
    assert!(left.count() < 30);
    assert!(drawn.iter().all(|&n| n < 25));
}
