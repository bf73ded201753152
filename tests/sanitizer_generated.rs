//! Ten thousand small kernels whose verdict is known from sets of places alone: right, racy, out of bounds, reading what nobody wrote. The sanitizer
//! agrees on every one.

use std::collections::HashMap;
use std::fmt::Write;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use wgen::sanitize::{Input, Kind, Options, Order, Program};

/// An index of a lane: what stands in the text, and what it is.
#[derive(Clone, Copy, Debug)]
enum Index {
    Own,
    Shifted(u32),
    /// Shifted, round the end.
    Turned(u32),
    Mirrored,
    Xor(u32),
    Halved,
    Doubled,
    One(u32),
}

impl Index {
    fn text(self, lanes: u32) -> String {
        match self {
            Self::Own => "i".to_owned(),
            Self::Shifted(by) => format!("i + {by}u"),
            Self::Turned(by) => format!("(i + {by}u) % {lanes}u"),
            Self::Mirrored => format!("{}u - i", lanes - 1),
            Self::Xor(by) => format!("i ^ {by}u"),
            Self::Halved => "i / 2u".to_owned(),
            Self::Doubled => "2u * i".to_owned(),
            // Not a constant, which naga would look at.
            Self::One(at) => format!("i - i + {at}u"),
        }
    }

    fn of(self, i: u32, lanes: u32) -> u32 {
        match self {
            Self::Own => i,
            Self::Shifted(by) => i + by,
            Self::Turned(by) => (i + by) % lanes,
            Self::Mirrored => lanes - 1 - i,
            Self::Xor(by) => i ^ by,
            Self::Halved => i / 2,
            Self::Doubled => 2 * i,
            Self::One(at) => at,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// `tile`, in workgroup memory.
    Tile,
    /// `shared_by_all`, in a buffer that all workgroups see.
    Buffer,
    /// The same, each workgroup's part.
    Part,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Write(Place, Index, u32),
    Read(Place, Index),
    /// What only lanes below it do.
    Below(u32, Place, Index, u32),
    WorkgroupBarrier,
    StorageBarrier,
}

/// A kernel of so many lanes in so many workgroups.
#[derive(Clone, Debug)]
struct Kernel {
    lanes: u32,
    groups: u32,
    steps: Vec<Step>,
}

fn index() -> impl Strategy<Value = Index> {
    prop_oneof![
        4 => Just(Index::Own),
        1 => (0..4_u32).prop_map(Index::Shifted),
        2 => (0..8_u32).prop_map(Index::Turned),
        1 => Just(Index::Mirrored),
        1 => (0..4_u32).prop_map(Index::Xor),
        1 => Just(Index::Halved),
        1 => Just(Index::Doubled),
        1 => (0..9_u32).prop_map(Index::One),
    ]
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        3 => Just(Place::Tile),
        1 => Just(Place::Buffer),
        2 => Just(Place::Part),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (place(), index(), 0..9_u32).prop_map(|(p, i, c)| Step::Write(p, i, c)),
        3 => (place(), index()).prop_map(|(p, i)| Step::Read(p, i)),
        1 => (1..9_u32, place(), index(), 0..9_u32).prop_map(|(n, p, i, c)| Step::Below(n, p, i, c)),
        3 => Just(Step::WorkgroupBarrier),
        2 => Just(Step::StorageBarrier),
    ]
}

fn kernel() -> impl Strategy<Value = Kernel> {
    let lanes = prop_oneof![Just(4_u32), Just(8)];
    let steps = prop::collection::vec(step(), 1..9);
    (lanes, 1..3_u32, steps).prop_map(|(lanes, groups, steps)| Kernel {
        lanes,
        groups,
        steps,
    })
}

impl Kernel {
    /// Elements of the tile, and of the buffer; a part of it has as many as there are lanes.
    fn sizes(&self) -> (u32, u32) {
        (self.lanes, self.lanes * self.groups)
    }

    fn wgsl(&self) -> String {
        let Self { lanes, steps, .. } = self;
        let at = |place: &Place, index: &Index| {
            let index = index.text(*lanes);
            match place {
                Place::Tile => format!("tile[{index}]"),
                Place::Buffer => format!("shared_by_all[{index}]"),
                Place::Part => format!("shared_by_all[group.x * {lanes}u + ({index})]"),
            }
        };
        let mut body = String::new();
        for step in steps {
            let line = match step {
                Step::Write(p, i, c) => format!("{} = sum + {c}u;", at(p, i)),
                Step::Read(p, i) => format!("sum += {};", at(p, i)),
                Step::Below(n, p, i, c) => format!("if i < {n}u {{ {} = {c}u; }}", at(p, i)),
                Step::WorkgroupBarrier => "workgroupBarrier();".to_owned(),
                Step::StorageBarrier => "storageBarrier();".to_owned(),
            };
            writeln!(body, "    {line}").expect("a string takes all");
        }
        format!(
            "@group(0) @binding(0) var<storage, read_write> shared_by_all: array<u32>;
@group(0) @binding(1) var<storage, read_write> result: array<u32>;
var<workgroup> tile: array<u32, {lanes}>;

@compute @workgroup_size({lanes})
fn kernel(@builtin(local_invocation_index) i: u32, @builtin(workgroup_id) group: vec3<u32>) {{
    var sum = i;
{body}    // The buffer's own place, so that it is used.
    result[group.x * {lanes}u + i] = sum + 0u * arrayLength(&shared_by_all);
    tile[i] = tile[i];
}}
"
        )
    }
}

/// What is known of a kernel from sets of places.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    race: bool,
    out_of_bounds: bool,
    unwritten: bool,
}

/// Accesses of a place: who, whether it wrote, and how many barriers of its kind came before.
type Accesses = HashMap<(bool, u32, u32), Vec<(u32, u32, bool, u32)>>;

impl Kernel {
    /// Every access of every lane, as the text has them, and each pair of them looked at.
    fn verdict(&self) -> (Verdict, Vec<u32>) {
        let (tile_size, buffer_size) = self.sizes();
        let mut verdict = Verdict::default();
        let mut accesses = Accesses::new();
        let mut buffer: Vec<u32> = (0..buffer_size).collect();
        let mut results = Vec::new();
        for group in 0..self.groups {
            let mut tile = vec![None; tile_size as usize];
            let mut sums: Vec<u32> = (0..self.lanes).collect();
            let (mut tile_epoch, mut buffer_epoch) = (0, 0);
            let end = Step::Read(Place::Tile, Index::Own);
            let steps = self.steps.iter().chain([&end]);
            for (number, step) in steps.enumerate() {
                let last = number == self.steps.len();
                let (place, index, writes, below) = match *step {
                    Step::WorkgroupBarrier => {
                        tile_epoch += 1;
                        continue;
                    }
                    Step::StorageBarrier => {
                        buffer_epoch += 1;
                        continue;
                    }
                    Step::Write(p, i, _) => (p, i, true, self.lanes),
                    Step::Read(p, i) => (p, i, false, self.lanes),
                    Step::Below(n, p, i, _) => (p, i, true, n),
                };
                if last {
                    results.extend(&sums);
                }
                for lane in 0..self.lanes.min(below) {
                    let at = index.of(lane, self.lanes);
                    let is_tile = matches!(place, Place::Tile);
                    let at = match place {
                        Place::Part => group * self.lanes + at,
                        _ => at,
                    };
                    let size = if is_tile { tile_size } else { buffer_size };
                    if at >= size {
                        // A read behind the end is 0.
                        verdict.out_of_bounds = true;
                        continue;
                    }
                    let epoch = if is_tile { tile_epoch } else { buffer_epoch };
                    let whose = if is_tile { group } else { 0 };
                    let of = accesses.entry((is_tile, whose, at)).or_default();
                    of.push((group, lane, writes, epoch));
                    if last {
                        // tile[i] = tile[i]
                        of.push((group, lane, true, epoch));
                    }
                    let sum = &mut sums[lane as usize];
                    match (*step, is_tile) {
                        (Step::Write(_, _, c), true) => tile[at as usize] = Some(*sum + c),
                        (Step::Write(_, _, c), false) => buffer[at as usize] = *sum + c,
                        (Step::Below(_, _, _, c), true) => tile[at as usize] = Some(c),
                        (Step::Below(_, _, _, c), false) => buffer[at as usize] = c,
                        (_, true) => match tile[at as usize] {
                            Some(word) => *sum = sum.wrapping_add(word),
                            None => verdict.unwritten |= !last,
                        },
                        (_, false) => *sum = sum.wrapping_add(buffer[at as usize]),
                    }
                }
            }
        }
        verdict.race = accesses.values().any(|all| {
            all.iter().enumerate().any(|(i, a)| {
                all[..i].iter().any(|b| {
                    let same = (a.0, a.1) == (b.0, b.1);
                    let ordered = a.0 == b.0 && a.3 != b.3;
                    !same && !ordered && (a.2 || b.2)
                })
            })
        });
        (verdict, results)
    }
}

fn examine(kernel: &Kernel) -> Result<(Verdict, Vec<u32>, String), String> {
    let program = Program::new(&kernel.wgsl(), None, &[]).map_err(|e| e.to_string())?;
    let (_, size) = kernel.sizes();
    let bytes = (0..size).flat_map(u32::to_le_bytes).collect();
    let inputs = [Input::buffer(bytes), Input::unwritten(u64::from(4 * size))];
    let options = Options {
        orders: vec![Order::Forward, Order::Shuffled(7)],
        zeroed_workgroup_memory: false,
        ..Options::default()
    };
    let report = program
        .run(&inputs, [kernel.groups, 1, 1], &options)
        .map_err(|e| e.to_string())?;
    let found = |kinds: &[Kind]| report.findings.iter().any(|f| kinds.contains(&f.kind));
    let verdict = Verdict {
        race: found(&[Kind::Race, Kind::RaceOfEquals]),
        out_of_bounds: found(&[Kind::OutOfBounds]),
        unwritten: found(&[Kind::Uninitialized]),
    };
    let words = report.runs[0].outputs[1].as_ref().expect("it is written");
    let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    let result = words.chunks_exact(4).map(word).collect();
    let said: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    Ok((verdict, result, said.join("\n")))
}

#[test]
fn the_sanitizer_agrees_with_sets_of_places() {
    let config = Config {
        cases: 10_000,
        failure_persistence: None,
        ..Config::default()
    };
    let mut counts = [0_u32; 4];
    let mut runner = TestRunner::new(config);
    let tally = std::cell::RefCell::new(&mut counts);
    let outcome = runner.run(&kernel(), |kernel| {
        let (known, result) = kernel.verdict();
        let (mut found, words, said) = examine(&kernel).map_err(TestCaseError::fail)?;
        let mut tally = tally.borrow_mut();
        for (n, is) in tally.iter_mut().zip([
            known == Verdict::default(),
            known.race,
            known.out_of_bounds,
            known.unwritten,
        ]) {
            *n += u32::from(is);
        }
        // In a race what was written when is a matter of luck.
        let mut known = known;
        if known.race {
            (known.unwritten, found.unwritten) = (false, false);
        }
        prop_assert_eq!(&known, &found, "{}\n{}", kernel.wgsl(), said);
        if known == Verdict::default() {
            prop_assert_eq!(&result, &words, "{}", kernel.wgsl());
        }
        Ok(())
    });
    outcome.unwrap_or_else(|e| panic!("{e}"));
    // All verdicts are common.
    assert!(counts.iter().all(|&n| n > 500), "{counts:?}");
}
