//! Which body of a product suits a device and a shape, and which others a tuner should measure: on hardware a small model of a shape's time on a device
//! of its maker, on software adapters rules.
//!
//! The model's numbers are counts that compilers gave for these tiles (Mesa 26.2: RADV for Navi 31, NAK for Ada, Honeykrisp for M1, ir3 for Adreno 630;
//! products in layout nn of whole blocks), and the few assumptions that are named as such. Whoever has measured a tile puts its share of the device's peak
//! in the place of the counted one. What was measured so far, on an H100, stands in [`on_hardware`]: how a tile of NVIDIA's is best made.

use super::problem::{Problem, WANTED_WORKGROUPS, parts};
use super::variant::{Tile, Variant};
use super::{Blocks, Layout};
use crate::kernels::Caps;
use crate::kernels::devices::{AMD, APPLE, NVIDIA, QUALCOMM};

impl Variant {
    /// The variants that can run on `caps`, the one to take first.
    ///
    /// On a software adapter subgroup broadcasts come first, then registers: workgroup memory is no faster there than any other, and
    /// a barrier costs a pass over all lanes (figures in `docs/results.md`, from `cargo bench`). Elsewhere tiles come first, in the order of a model of
    /// their time, and behind the first two what else is worth measuring.
    pub fn candidates(caps: &Caps, shape: [usize; 3], layout: Layout) -> Vec<Self> {
        Self::of(caps, &Problem::plain(layout, shape))
    }

    /// As [`Variant::candidates`], with all that is known of the product.
    pub(crate) fn of(caps: &Caps, problem: &Problem) -> Vec<Self> {
        let others = if caps.software {
            in_software(caps, problem)
        } else {
            on_hardware(caps, problem)
        };
        on_matrix_units(caps, problem)
            .into_iter()
            .chain(others)
            .collect()
    }
}

/// The variants for matrix units, where the plan allows them and a whole block fits in: the larger first where it makes enough workgroups.
fn on_matrix_units(caps: &Caps, problem: &Problem) -> Vec<Variant> {
    let &Problem { m, n, segment, .. } = problem;
    let least = m.min(n).min(segment);
    if !caps.half_products || least < caps.matrix_units as usize {
        return Vec::new();
    }
    let mut all: Vec<Variant> = Blocks::all(caps)
        .into_iter()
        .map(Variant::Cooperative)
        .collect();
    let fills = |variant: &Variant| {
        let (rows, columns) = variant.tile();
        let workgroups = m.div_ceil(rows) * n.div_ceil(columns) * problem.matrices;
        workgroups * parts(workgroups, problem.parts) >= WANTED_WORKGROUPS
    };
    // Where the sum is segmented, addresses want registers too: with the larger, one workgroup a core is all that NAK has room for (Mesa 26.2).
    let segmented = segment < problem.terms;
    if segmented || !all.first().is_some_and(fills) {
        all.reverse();
    }
    all
}

/// The variants for a compiler that makes CPU code of them.
fn in_software(caps: &Caps, problem: &Problem) -> Vec<Variant> {
    let &Problem {
        layout,
        m,
        n,
        terms: k,
        ..
    } = problem;
    let mut variants = Vec::new();
    if caps.subgroup_min_size >= 4 {
        let lanes = if caps.subgroup_min_size >= 8 { 8 } else { 4 };
        // Long sums in layout tn are read down both operands: the taller tile reads less.
        let rows = if layout == Layout::Tn && m >= 64 && k >= 256 {
            64
        } else if layout != Layout::Tn && m * n * k < SMALL_PRODUCT {
            8
        } else if layout == Layout::Tn || m > 16 {
            32
        } else if m > 8 {
            16
        } else {
            8
        };
        // The wider tile wants enough columns to keep every core busy. Layout tn is a quarter slower with it.
        let wide = n >= 16 * lanes as usize && rows == 32 && layout != Layout::Tn;
        let quads = if wide { 2 } else { 1 };
        variants.push(Variant::Subgroup { lanes, rows, quads });
    }
    variants.push(Variant::Registers);
    if Tile::SMALL.fits(caps) {
        variants.push(Variant::Tiled(Tile::SMALL));
    }
    variants
}

/// Below this many terms a product takes so little time that the compiler's counts for more: a tile of 8 rows is a quarter of the text.
const SMALL_PRODUCT: usize = 3 << 20;

/// A tile on a device.
struct Counted {
    tile: Tile,
    /// Issue slots of the main loop that are multiply-adds.
    share: f64,
    /// Invocations that registers and workgroup memory allow on a core at once.
    resident: usize,
}

const fn counted(tile: Tile, share: f64, resident: usize) -> Counted {
    Counted {
        tile,
        share,
        resident,
    }
}

/// Devices of one maker.
struct Family {
    vendor: u32,
    /// Cores of a large one: assumed, for no API says how many there are.
    cores: usize,
    tiles: [Counted; 5],
}

/// Shares and residents by maker. Where registers decide how much is resident, operands are transposed: on AMD 96 registers instead of 144 for 64 x 64,
/// on M1 no spill, on Adreno half as many waves again.
const FAMILIES: [Family; 4] = [
    // AMD, by Navi 31.
    Family {
        vendor: AMD,
        cores: 96,
        tiles: [
            counted(Tile::LARGE.transposed(), 0.789, 1024),
            counted(Tile::TALL.transposed(), 0.729, 1280),
            counted(Tile::MEDIUM.transposed(), 0.794, 1024),
            counted(Tile::LOW.transposed(), 0.716, 640),
            counted(Tile::SMALL.transposed(), 0.663, 1024),
        ],
    },
    // NVIDIA, by Ada.
    Family {
        vendor: NVIDIA,
        cores: 128,
        tiles: [
            counted(Tile::LARGE, 0.793, 512),
            counted(Tile::TALL, 0.789, 768),
            counted(Tile::MEDIUM, 0.745, 512),
            counted(Tile::LOW, 0.711, 640),
            counted(Tile::SMALL, 0.634, 1024),
        ],
    },
    // Apple, by M1, whose compiler shows no loops: the shares are the portable ones.
    Family {
        vendor: APPLE,
        cores: 32,
        tiles: [
            counted(Tile::LARGE.transposed(), 0.789, 512),
            counted(Tile::TALL.transposed(), 0.729, 832),
            counted(Tile::MEDIUM.transposed(), 0.752, 512),
            counted(Tile::LOW.transposed(), 0.680, 768),
            counted(Tile::SMALL.transposed(), 0.604, 1024),
        ],
    },
    // Qualcomm, by Adreno 630.
    Family {
        vendor: QUALCOMM,
        cores: 12,
        tiles: [
            counted(Tile::LARGE.transposed(), 0.834, 384),
            counted(Tile::TALL.transposed(), 0.771, 512),
            counted(Tile::MEDIUM.transposed(), 0.793, 384),
            counted(Tile::LOW.transposed(), 0.715, 384),
            counted(Tile::SMALL.transposed(), 0.658, 640),
        ],
    },
];

/// Every other maker, Intel among them, for none of whose devices a compiler was at hand: of each tile the least of what is known.
const PORTABLE: Family = Family {
    vendor: 0,
    cores: 64,
    tiles: [
        counted(Tile::LARGE.transposed(), 0.789, 384),
        counted(Tile::TALL.transposed(), 0.729, 512),
        counted(Tile::MEDIUM.transposed(), 0.752, 384),
        counted(Tile::LOW.transposed(), 0.680, 384),
        counted(Tile::SMALL.transposed(), 0.604, 640),
    ],
};

/// Invocations on a core from which on its issue slots are full, thanks to the independent sums of each: two waves of 32 a scheduler, of which a core has
/// four. Assumed.
const FULL: f64 = 256.0;

/// Bytes from workgroup memory that a core gets for each multiply-add that it could do: 128 bytes and 128 a clock from Ampere and RDNA 3 on.
const SHARED_BYTES: f64 = 1.0;

impl Family {
    fn of(caps: &Caps) -> &'static Self {
        let known = FAMILIES.iter().find(|f| f.vendor == caps.vendor);
        known.unwrap_or(&PORTABLE)
    }

    /// The time that a product takes in a tile, in multiply-adds of one core at full rate.
    fn time(&self, counted: &Counted, problem: &Problem) -> f64 {
        let tile = counted.tile;
        let (rows, columns) = tile.size();
        let workgroups = problem.m.div_ceil(rows) * problem.n.div_ceil(columns) * problem.matrices;
        let parts = parts(workgroups, problem.parts);
        // The core that has most of them decides; a tile that hangs over the edge costs as much as a full one, and a block of k likewise.
        let of_a_core = (workgroups * parts).div_ceil(self.cores);
        let depth = tile.depth as usize;
        let segment = problem.segment.max(1);
        let terms = problem.terms as f64 / parts as f64 * (segment.div_ceil(depth) * depth) as f64
            / segment as f64;
        let invocations = (tile.threads * tile.threads) as usize;
        let at_once = of_a_core.min(counted.resident / invocations).max(1);
        let (high, wide) = (f64::from(4 * tile.row_quads), f64::from(4 * tile.quads));
        let shared_bytes = 4.0 * (high + wide) / (high * wide);
        let rate = counted.share.min(SHARED_BYTES / shared_bytes)
            * ((at_once * invocations) as f64 / FULL).min(1.0);
        (of_a_core * rows * columns) as f64 * terms / rate
    }

    /// The tiles that fit a device, the one that is expected to be the fastest first; of equals the larger, which reads less.
    fn ranked(&self, caps: &Caps, problem: &Problem) -> Vec<Tile> {
        let fits = self.tiles.iter().filter(|c| c.tile.fits(caps));
        let mut timed: Vec<(f64, Tile)> = fits.map(|c| (self.time(c, problem), c.tile)).collect();
        if problem.layout == Layout::Tn {
            // Nothing of it lies along k.
            timed.iter_mut().for_each(|(_, t)| t.transposed = false);
        }
        timed.sort_by(|a, b| a.0.total_cmp(&b.0));
        timed.into_iter().map(|(_, tile)| tile).collect()
    }
}

/// The bodies that can run on hardware, the one to take first, behind it what else a tuner should measure, of different kinds: another size of tile, the
/// same with operands handed to workgroup memory in the other way, or with loads ahead, and no workgroup memory at all.
pub(super) fn on_hardware(caps: &Caps, problem: &Problem) -> Vec<Variant> {
    let family = Family::of(caps);
    let nvidia = caps.vendor == NVIDIA;
    let mut ranked = family.ranked(caps, problem);
    if nvidia && problem.layout == Layout::Nt {
        // Where both operands lie along k. Measured by the tuner on an H100 (`scripts/tuned.py benches/results/h100/tuning.json`): transposed they take 0.70 of
        // the time in products (0.48 to 0.90, 21 shapes), 0.75 in convolutions (0.60 to 0.81, 17); in layout nn, 1.02. NAK's counts had it the other way round.
        let turned = ranked.iter_mut().filter(|t| t.transposed().fits(caps));
        turned.for_each(|t| *t = t.transposed());
    }
    let Some(&first) = ranked.first() else {
        return vec![Variant::Registers];
    };
    // A small tile is taken where workgroups are few, and waits for its loads. There too: with loads ahead products take 0.92 of the time in the median (0.68
    // to 1.08, 53 shapes), convolutions, whose segments of k are short, 1.02 (44).
    let small = [Tile::SMALL, Tile::SMALL.transposed()].contains(&first);
    let waits = nvidia && small && problem.segment == problem.terms;
    let first = if waits { first.ahead() } else { first };
    let other = Tile {
        transposed: !first.transposed,
        ..first
    };
    let mut variants = vec![Variant::Tiled(first)];
    variants.extend(ranked.get(1).copied().map(Variant::Tiled));
    // Lanes that hand operands round are worth their registers where a subgroup is whole: half of one idles in a wider one. In layout tn a lane's share of
    // A is four rows, and 128 rows spill.
    let lanes = caps.subgroup_min_size;
    // On an H100 they took 1.1 to 8 times as long as the best tile, in the median 4.5 times (57 shapes, `tuning-first.json` there).
    // On M1 170 to 280 of their registers are spilled (Honeykrisp, Mesa 26.2).
    let whole = ![NVIDIA, APPLE].contains(&caps.vendor)
        && lanes == 32
        && caps.subgroup_max_size == lanes
        && problem.layout != Layout::Tn;
    let kinds = [
        // M1 spills where large tiles are not transposed; in layout tn there is nothing to transpose.
        (problem.layout != Layout::Tn && caps.vendor != APPLE && other.fits(caps))
            .then_some(Variant::Tiled(other)),
        Some(Variant::Tiled(Tile {
            ahead: !first.ahead,
            ..first
        })),
        (whole && problem.m > 16).then_some(Variant::Subgroup {
            lanes,
            rows: 32,
            quads: 1,
        }),
    ];
    variants.extend(kinds.into_iter().flatten());
    variants.extend(ranked.iter().skip(2).copied().map(Variant::Tiled));
    variants.push(Variant::Registers);
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::devices::{self, INTEL};

    fn device(vendor: u32, lanes: [u32; 2]) -> Caps {
        Caps {
            vendor,
            subgroup_min_size: lanes[0],
            subgroup_max_size: lanes[1],
            invocations: 1024,
            workgroup_bytes: 32 << 10,
            ..Caps::portable()
        }
    }

    fn devices() -> Vec<Caps> {
        vec![
            device(AMD, [32, 64]),
            device(NVIDIA, [32, 32]),
            device(APPLE, [32, 32]),
            device(QUALCOMM, [64, 128]),
            device(INTEL, [8, 32]),
            Caps::portable(),
        ]
    }

    const SHAPES: [[usize; 3]; 8] = [
        [1, 1, 1],
        [128, 20, 400],
        [128, 400, 784],
        [784, 400, 128],
        [512, 512, 512],
        [50_176, 64, 576],
        [4096, 4096, 4096],
        [7, 100_000, 3],
    ];

    #[test]
    fn what_is_measured_is_of_several_kinds_and_fits() {
        for caps in devices() {
            for (layout, shape) in [Layout::Nn, Layout::Nt, Layout::Tn]
                .into_iter()
                .flat_map(|l| SHAPES.map(|s| (l, s)))
            {
                let all = on_hardware(&caps, &Problem::plain(layout, shape));
                for (i, variant) in all.iter().enumerate() {
                    assert!(!all[..i].contains(variant), "{variant:?} twice");
                    if let Variant::Tiled(tile) = variant {
                        assert!(tile.fits(&caps), "{tile:?}");
                    }
                }
                assert!(all.len() >= 4, "{all:?}");
                // Among the four that a tuner measures there is another size, and the first one made in another way.
                let (first, others) = (all[0], &all[1..4]);
                assert!(others.iter().any(|v| v.tile() != first.tile()), "{all:?}");
                assert!(others.iter().any(|v| v.tile() == first.tile()), "{all:?}");
            }
        }
    }

    #[test]
    fn the_first_choice_fills_a_device_before_it_saves_traffic() {
        for caps in devices() {
            let first = |shape| on_hardware(&caps, &Problem::plain(Layout::Nn, shape))[0].tile();
            let area = |(rows, columns): (usize, usize)| rows * columns;
            let [small, middle, large] =
                [[128, 400, 784], [1024, 1024, 1024], [4096, 4096, 4096]].map(|s| area(first(s)));
            assert!(
                small <= middle && middle <= large && small < large,
                "{caps:?}"
            );
            // All work of a large product is in whole tiles of 8 x 8 a thread.
            assert!(large >= 64 * 64);
        }
    }

    #[test]
    fn a_narrow_result_takes_a_narrow_tile() {
        for caps in devices() {
            let (_, columns) =
                on_hardware(&caps, &Problem::plain(Layout::Nt, [100_000, 32, 64]))[0].tile();
            assert_eq!(columns, 32, "{caps:?}");
        }
    }

    #[test]
    fn a_sum_that_may_be_cut_takes_a_larger_tile() {
        for caps in [
            device(AMD, [32, 64]),
            device(NVIDIA, [32, 32]),
            Caps::portable(),
        ] {
            let whole = Problem {
                segment: 28,
                ..Problem::plain(Layout::Tn, [128, 576, 50_176])
            };
            let cut = Problem { parts: 64, ..whole };
            let area = |p: &Problem| {
                let (rows, columns) = on_hardware(&caps, p)[0].tile();
                rows * columns
            };
            assert!(area(&cut) > area(&whole), "{caps:?}");
        }
        assert_eq!(
            [parts(1, 8), parts(100, 8), parts(1000, 8), parts(0, 0)],
            [8, 2, 1, 1]
        );
    }

    #[test]
    fn matrix_units_are_for_plans_that_ask_and_shapes_that_fill_a_block() {
        let has = devices::find("nvidia").unwrap().caps.clone();
        let asked = Caps {
            half_products: true,
            ..has.clone()
        };
        let first = |caps: &Caps, problem| Variant::of(caps, &problem)[0];
        let large = Problem::plain(Layout::Nt, [4096, 4096, 4096]);
        let small = Problem::plain(Layout::Nt, [128, 400, 784]);
        assert!(!first(&has, large).is_cooperative());
        assert_eq!(first(&asked, large).tile(), (128, 128));
        assert_eq!(first(&asked, small).tile(), (64, 64));
        assert!(first(&asked, small).is_cooperative());
        let segmented = Problem {
            segment: 64,
            ..large
        };
        assert_eq!(first(&asked, segmented).tile(), (64, 64));
        for narrow in [[15, 400, 784], [128, 8, 784], [128, 400, 3]] {
            assert!(!first(&asked, Problem::plain(Layout::Nn, narrow)).is_cooperative());
        }
        // A kernel that rounds nothing never becomes one that does.
        for other in Variant::of(&asked, &large) {
            assert!(!other.may_replace(first(&has, large)) || !other.is_cooperative());
        }
        // Without f16, without units, without room there are none.
        let nothing = [
            Caps {
                f16: false,
                ..asked.clone()
            },
            Caps {
                matrix_units: 0,
                ..asked.clone()
            },
            Caps {
                workgroup_bytes: 8 << 10,
                ..asked
            },
        ];
        for caps in nothing {
            assert!(!first(&caps, large).is_cooperative(), "{caps:?}");
        }
    }

    /// A device without subgroups or with little memory has something to run as well.
    #[test]
    fn what_does_not_fit_is_not_proposed() {
        let caps = Caps {
            invocations: 64,
            ..Caps::portable()
        };
        let of = |caps: &Caps| on_hardware(caps, &Problem::plain(Layout::Nn, [4096, 4096, 4096]));
        assert_eq!(of(&caps)[0].tile(), (64, 64));
        let caps = Caps {
            workgroup_bytes: 512,
            ..caps
        };
        assert_eq!(of(&caps), [Variant::Registers]);
    }
}
