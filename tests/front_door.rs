//! The sceptic's example of the front page, with one sign of its WGSL turned: it must fail, saying where and by how much.

use wgen::kernels::wgsl::Wgsl;
use wgen::verify::cases::Values;
use wgen::verify::{Inputs, Tolerance, against};
use wgen::{Choice, Gpu};

/// The WGSL of the example called `name` in `src/lib.rs`, which its documentation test runs.
fn source_of(name: &str) -> String {
    let page = include_str!("../src/lib.rs");
    let begin = page.find(&format!("//! const {name}: &str = \"")).unwrap();
    let lines = page[begin..].lines().skip(1);
    let text: Vec<&str> = lines.map(|l| l.trim_start_matches("//! ")).collect();
    let text = text.join("\n");
    text[..text.find("\";").unwrap()].to_owned()
}

#[test]
fn a_turned_sign_is_found_by_name_position_and_size() {
    let gpu = Gpu::new(&Choice::Auto).unwrap();
    let right = source_of("SQUARES");
    let turned = right.replace("- 1.0", "+ 1.0");
    assert_ne!(right, turned);
    let compared = |source: &str| {
        let kernel = Wgsl::new("squares", source)
            .read("x", 1000)
            .write("y", 1000)
            .workgroups([16, 1, 1]);
        let inputs = Inputs::drawn(&kernel, Values::Normal, 1);
        let squares = |x: &[&[f64]]| vec![x[0].iter().map(|x| x * x - 1.0).collect()];
        against(&gpu, &kernel, inputs, squares, Tolerance::sum(2, 25.0)).unwrap()
    };
    compared(&right).expect();
    let wrong = compared(&turned);
    assert!(!wrong.passed());
    let text = wrong.to_string();
    println!("{text}");
    // The buffer, the element, what it is, what it should be, how far that is beyond the tolerance, how many, over which inputs.
    let (place, rest) = text.split_once(" is ").unwrap();
    assert!(place.starts_with("'y'[") && place.ends_with(']'), "{text}");
    let (got, rest) = rest.split_once(", expected ").unwrap();
    let (expected, rest) = rest.split_once(" within ").unwrap();
    let number = |text: &str| text.parse::<f64>().unwrap();
    assert!(
        (number(got) - number(expected) - 2.0).abs() < 1e-3,
        "{text}"
    );
    let end =
        " times that); 1000 of 1000 differ, the first [0]\n(squares, inputs Normal of seed 1)";
    assert!(rest.ends_with(end), "{text}");
}
