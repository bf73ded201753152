//! A small scene drawn by the program, of which everything is known: a few spheres and boxes with patterns, lit from one side. Its pictures need
//! no download, and the depth that a field has learned from them is measured against the true one.
//!
//! ```
//! use wgen::data::scene::analytic;
//!
//! let data = analytic::dataset(3, 1);
//! let views = data.views.as_ref().unwrap();
//! let camera = views.camera();
//! assert_eq!(data.rows(), 3 * camera.pixels());
//! // The pixel in the middle looks at the origin, which something hides.
//! let (x, y) = (camera.width / 2, camera.height / 2);
//! let depth = analytic::depths(&camera, &views.poses[0])[y * camera.width + x].unwrap();
//! assert!(depth.z > 2.0 && depth.z < 4.5 && depth.range >= depth.z);
//! # Ok::<(), wgen::Error>(())
//! ```
//!
//! Everything lies within the ball of radius 1.4 round the origin, z up; cameras are 4 away and look at the origin, as in the scenes of Blender,
//! whose bounds (near 2, far 6, the box [-1.5, 1.5]^3) therefore fit.

use rayon::prelude::*;

use super::Camera;
use super::pose::{Pose, dot, minus, normalized};
use super::rows::Rows;
use super::world::World;
use crate::data::Dataset;
use crate::nn::init::{generator, unit};

/// Pixels a side of its pictures.
pub const SIDE: usize = 100;

/// Views to train on where it is not said how many.
pub const VIEWS: usize = 100;

/// How far its cameras are from the origin.
pub const RADIUS: f64 = 4.0;

/// Rays a side through a pixel that has an edge.
const FINE: usize = 4;

/// Where its light comes from, and what share of an object's colour is seen without it.
const LIGHT: [f64; 3] = [0.4, -0.3, 0.85];
const AMBIENT: f64 = 0.35;

#[derive(Clone, Copy)]
enum Body {
    Sphere { centre: [f64; 3], radius: f64 },
    Box { low: [f64; 3], high: [f64; 3] },
}

/// A body and its colours, which change from cell to cell of a grid of this many cells a unit.
#[derive(Clone, Copy)]
struct Object {
    body: Body,
    colours: [[f64; 3]; 2],
    cells: f64,
}

const OBJECTS: [Object; 6] = [
    Object {
        body: Body::Box {
            low: [-0.8, -0.8, -0.75],
            high: [0.8, 0.8, -0.6],
        },
        colours: [[0.85, 0.83, 0.78], [0.3, 0.38, 0.5]],
        cells: 4.0,
    },
    Object {
        body: Body::Sphere {
            centre: [-0.32, -0.3, -0.16],
            radius: 0.44,
        },
        colours: [[0.9, 0.2, 0.15], [0.95, 0.85, 0.7]],
        cells: 5.0,
    },
    Object {
        body: Body::Box {
            low: [0.2, -0.65, -0.6],
            high: [0.7, -0.15, 0.1],
        },
        colours: [[0.95, 0.8, 0.2], [0.2, 0.6, 0.3]],
        cells: 6.0,
    },
    Object {
        body: Body::Sphere {
            centre: [0.3, 0.42, -0.3],
            radius: 0.3,
        },
        colours: [[0.15, 0.3, 0.85], [0.55, 0.75, 0.95]],
        cells: 7.0,
    },
    Object {
        body: Body::Box {
            low: [-0.65, 0.35, -0.6],
            high: [-0.3, 0.7, 0.7],
        },
        colours: [[0.55, 0.25, 0.65], [0.9, 0.75, 0.9]],
        cells: 5.0,
    },
    Object {
        body: Body::Sphere {
            centre: [0.45, -0.4, 0.35],
            radius: 0.25,
        },
        colours: [[0.2, 0.75, 0.75], [0.95, 0.55, 0.2]],
        cells: 8.0,
    },
];

/// Where a ray meets the scene first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// How far along the ray, in lengths of its direction.
    pub t: f64,
    /// The surface's direction outwards, of length 1.
    pub normal: [f64; 3],
    /// What is seen there, red, green and blue in [0, 1], from wherever one looks.
    pub colour: [f64; 3],
    /// Of which object, side and colour: rays with the same see one surface without an edge between them.
    patch: u32,
}

/// How far away something is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Depth {
    /// Along the camera's axis.
    pub z: f64,
    /// Along the ray.
    pub range: f64,
}

/// Where the line enters a body: the place along it, the direction outwards and the number of the side.
fn enters(body: Body, o: [f64; 3], d: [f64; 3]) -> Option<(f64, [f64; 3], u32)> {
    match body {
        Body::Sphere { centre, radius } => {
            let from = minus(o, centre);
            let (a, b, c) = (dot(d, d), dot(from, d), dot(from, from) - radius * radius);
            let root = b * b - a * c;
            let t = (-b - root.max(0.0).sqrt()) / a;
            let normal = [0, 1, 2].map(|i| (from[i] + t * d[i]) / radius);
            (root > 0.0 && t > 0.0).then_some((t, normal, 0))
        }
        Body::Box { low, high } => {
            let (mut first, mut last, mut side) = (f64::NEG_INFINITY, f64::INFINITY, 0);
            for i in 0..3 {
                // A line along the slab is in it or not, for all of its length: infinities of the right signs, or NaN on its wall.
                let (a, b) = ((low[i] - o[i]) / d[i], (high[i] - o[i]) / d[i]);
                if a.min(b) > first {
                    (first, side) = (a.min(b), i);
                }
                last = last.min(a.max(b));
            }
            let mut normal = [0.0; 3];
            normal[side] = -d[side].signum();
            let face = 2 * side as u32 + u32::from(d[side] < 0.0);
            (first < last && first > 0.0).then_some((first, normal, face))
        }
    }
}

/// What a ray from outside of all objects meets first.
pub fn hit(origin: [f64; 3], direction: [f64; 3]) -> Option<Hit> {
    let light = normalized(LIGHT);
    let mut nearest: Option<Hit> = None;
    for (number, object) in (0..).zip(&OBJECTS) {
        let Some((t, normal, side)) = enters(object.body, origin, direction) else {
            continue;
        };
        if nearest.is_some_and(|n| n.t <= t) {
            continue;
        }
        let place = [0, 1, 2].map(|i| origin[i] + t * direction[i]);
        // Shifted, so that no side of a box lies between two cells.
        let cells = place.map(|x| ((x + 0.0371) * object.cells).floor() as i64);
        let parity = cells.iter().sum::<i64>().rem_euclid(2) as u32;
        let shade = AMBIENT + (1.0 - AMBIENT) * dot(normal, light).max(0.0);
        nearest = Some(Hit {
            t,
            normal,
            colour: object.colours[parity as usize].map(|c| c * shade),
            patch: 16 * number + 2 * side + parity,
        });
    }
    nearest
}

/// How far a place is from the surface of a body, below 0 inside.
fn outside(body: Body, p: [f64; 3]) -> f64 {
    match body {
        Body::Sphere { centre, radius } => {
            let from = minus(p, centre);
            dot(from, from).sqrt() - radius
        }
        Body::Box { low, high } => {
            let beyond = [0, 1, 2].map(|i| (low[i] - p[i]).max(p[i] - high[i]));
            let out = beyond.map(|x| x.max(0.0));
            let most = beyond.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            dot(out, out).sqrt() + most.min(0.0)
        }
    }
}

/// How far a place is from the scene's surface, below 0 inside of an object; there, where objects touch, at least so far.
pub fn distance(place: [f64; 3]) -> f64 {
    let all = OBJECTS.iter().map(|object| outside(object.body, place));
    all.fold(f64::INFINITY, f64::min)
}

/// The camera of its pictures.
pub fn camera() -> Camera {
    // The field of view of Blender's scenes.
    let focal = 0.5 * SIDE as f64 / (0.5 * 0.691_111_207_008_361_8_f64).tan();
    Camera::centred(SIDE, SIDE, focal)
}

/// Cameras on a sphere, spread evenly from somewhat below the ground to nearly above, turned and jittered by the seed.
pub fn poses(count: usize, seed: u64) -> Vec<Pose> {
    let mut rng = generator(seed, "cameras of the analytic scene");
    let mut draw = || f64::from(unit(&mut rng));
    let start = draw();
    // The golden ratio's turn, by which points on a spiral keep apart.
    let turn = 0.5 * (5.0_f64.sqrt() - 1.0);
    let one = |i: usize| {
        let z = -0.3 + 1.25 * (i as f64 + draw()) / count as f64;
        let angle = std::f64::consts::TAU * (start + turn * i as f64 + 0.05 * draw());
        let around = (1.0 - z * z).sqrt();
        let place = [around * angle.cos(), around * angle.sin(), z];
        Pose::looking(place.map(|x| RADIUS * x), [0.0; 3], [0.0, 0.0, 1.0])
    };
    (0..count).map(one).collect()
}

/// A view as straight RGBA, row after row: alpha is the share of a pixel that something covers, colours are the mean of what is seen of it.
/// Pixels without an edge have the colour at their middle.
pub fn picture(camera: &Camera, pose: &Pose) -> Vec<u8> {
    let see = |x: f64, y: f64| hit(pose.position(), pose.rotated(camera.direction(x, y)));
    let patch = |hit: Option<Hit>| hit.map(|h| h.patch);
    let byte = |x: f64| (255.0 * x).round() as u8;
    let pixel = |i: usize| {
        let (x, y) = ((i % camera.width) as f64, (i / camera.width) as f64);
        let middle = see(x + 0.5, y + 0.5);
        let corners = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)];
        let even = corners
            .iter()
            .all(|(dx, dy)| patch(see(x + dx, y + dy)) == patch(middle));
        if even {
            return middle.map_or([0; 4], |hit| {
                let [r, g, b] = hit.colour.map(byte);
                [r, g, b, 255]
            });
        }
        let place = |k: usize| (k as f64 + 0.5) / FINE as f64;
        let all = (0..FINE * FINE).map(|k| see(x + place(k % FINE), y + place(k / FINE)));
        let seen: Vec<Hit> = all.flatten().collect();
        if seen.is_empty() {
            return [0; 4];
        }
        let mean = |c: usize| seen.iter().map(|h| h.colour[c]).sum::<f64>() / seen.len() as f64;
        let cover = seen.len() as f64 / (FINE * FINE) as f64;
        [mean(0), mean(1), mean(2), cover].map(byte)
    };
    (0..camera.pixels()).flat_map(pixel).collect()
}

/// How far away what the ray of each pixel meets is, row after row; `None` where it meets nothing.
pub fn depths(camera: &Camera, pose: &Pose) -> Vec<Option<Depth>> {
    let one = |i: usize| {
        let (x, y) = ((i % camera.width) as f64, (i / camera.width) as f64);
        let offset = camera.pixel_offset;
        let d = pose.rotated(camera.direction(x + offset, y + offset));
        hit(pose.position(), d).map(|hit| Depth {
            z: hit.t,
            range: hit.t * dot(d, d).sqrt(),
        })
    };
    (0..camera.pixels()).map(one).collect()
}

/// `views` views of the scene, the same for the same seed.
pub fn dataset(views: usize, seed: u64) -> Dataset {
    let (camera, poses) = (camera(), poses(views, seed));
    let drawn: Vec<Vec<u8>> = poses.par_iter().map(|p| picture(&camera, p)).collect();
    let mut rows = Rows::default();
    for picture in &drawn {
        rows.add(picture, None);
    }
    let names = (0..views).map(|i| format!("view {i}")).collect();
    let cameras = vec![camera; views];
    rows.dataset(
        "analytic".to_owned(),
        cameras,
        poses,
        names,
        World::default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_lies_on_the_surface_and_looks_back_at_the_ray() {
        let camera = camera();
        let mut sides = [0; 3];
        for pose in poses(5, 3) {
            for y in (0..SIDE).step_by(7) {
                for x in (0..SIDE).step_by(7) {
                    let d = pose.rotated(camera.direction(x as f64 + 0.5, y as f64 + 0.5));
                    let Some(hit) = hit(pose.position(), d) else {
                        continue;
                    };
                    assert!(dot(hit.normal, d) < 0.0);
                    let at = |t: f64| [0, 1, 2].map(|i| pose.position()[i] + t * d[i]);
                    let p = at(hit.t);
                    assert!(dot(p, p) < 1.4 * 1.4, "{p:?}");
                    let inside = |p: [f64; 3]| {
                        OBJECTS.iter().any(|o| match o.body {
                            Body::Sphere { centre, radius } => {
                                let r = minus(p, centre);
                                dot(r, r) < radius * radius
                            }
                            Body::Box { low, high } => {
                                (0..3).all(|i| low[i] < p[i] && p[i] < high[i])
                            }
                        })
                    };
                    // Just behind it is an object, before it nothing.
                    assert!(inside(at(hit.t + 1e-6)));
                    assert!(distance(p).abs() < 1e-9);
                    let before = distance([0, 1, 2].map(|i| p[i] + 1e-4 * hit.normal[i]));
                    assert!(before > 0.0 && before < 1e-4 + 1e-9, "{before}");
                    assert!((0..200).all(|k| !inside(at(hit.t * (f64::from(k) / 200.0) - 1e-6))));
                    sides[usize::from(hit.normal.contains(&1.0))
                        + usize::from(hit.normal.contains(&-1.0))] += 1;
                }
            }
        }
        assert!(sides[0] > 100 && sides[1] > 100, "{sides:?}");
    }

    #[test]
    fn distances_from_faces_edges_corners_and_from_inside() {
        // The base's box ends at x = 0.8, y = 0.8, z = -0.75.
        let near = |p: [f64; 3], expected: f64| {
            assert!(
                (distance(p) - expected).abs() < 1e-12,
                "{p:?}: {}",
                distance(p)
            );
        };
        near([0.0, 0.0, -1.0], 0.25);
        near([1.1, 0.0, -1.15], 0.5);
        near([1.1, 1.2, -0.75], 0.5);
        near([0.0, 0.0, -0.7], -0.05);
        // The first sphere.
        near([-0.32, -0.3, -0.06], -0.34);
        near([-1.32, -0.3, -0.16], 0.56);
    }

    #[test]
    fn rays_along_walls_and_beside_boxes_miss() {
        let cube = Body::Box {
            low: [-1.0; 3],
            high: [1.0; 3],
        };
        let entered = |o, d| enters(cube, o, d).map(|(t, normal, _)| (t, normal));
        assert_eq!(
            entered([0.0, 0.5, 3.0], [0.0, 0.0, -1.0]),
            Some((2.0, [0.0, 0.0, 1.0]))
        );
        assert_eq!(
            entered([0.0, 0.5, 3.0], [0.0, 0.0, -2.0]),
            Some((1.0, [0.0, 0.0, 1.0]))
        );
        assert_eq!(entered([0.0, 1.5, 3.0], [0.0, 0.0, -1.0]), None);
        assert_eq!(entered([0.0, 0.5, 3.0], [0.0, 0.0, 1.0]), None);
        let ball = Body::Sphere {
            centre: [0.0, 0.0, 1.0],
            radius: 0.5,
        };
        let entered = |o, d| enters(ball, o, d).map(|(t, normal, _)| (t, normal));
        assert_eq!(
            entered([3.0, 0.0, 1.0], [-1.0, 0.0, 0.0]),
            Some((2.5, [1.0, 0.0, 0.0]))
        );
        assert_eq!(entered([3.0, 0.6, 1.0], [-1.0, 0.0, 0.0]), None);
    }

    #[test]
    fn alpha_is_the_share_that_is_covered_and_depth_is_there_where_it_is_full() {
        let camera = camera();
        let pose = poses(4, 0)[2];
        let (picture, depths) = (picture(&camera, &pose), depths(&camera, &pose));
        let mut counts = [0; 3];
        for (pixel, depth) in picture.as_chunks::<4>().0.iter().zip(&depths) {
            match pixel[3] {
                0 => assert_eq!(*depth, None),
                255 => assert!(depth.is_some()),
                _ => {}
            }
            counts[usize::from(pixel[3] > 0) + usize::from(pixel[3] == 255)] += 1;
            if let Some(depth) = depth {
                assert!(depth.z > RADIUS - 1.4 && depth.z < RADIUS + 1.4 && depth.range >= depth.z);
            }
        }
        // Nothing, an edge, an object.
        assert!(
            counts[0] > 2000 && counts[1] > 50 && counts[2] > 1000,
            "{counts:?}"
        );
    }

    #[test]
    fn views_are_spread_and_repeat_by_their_seed() {
        let all = poses(100, 1);
        assert_eq!(all, poses(100, 1));
        assert_ne!(all, poses(100, 2));
        let closest = |i: usize| {
            let others = all.iter().enumerate().filter(|(j, _)| *j != i);
            let apart = others.map(|(_, p)| {
                let d = minus(p.position(), all[i].position());
                dot(d, d).sqrt()
            });
            apart.fold(f64::INFINITY, f64::min)
        };
        // 100 places on the part of the sphere that is used are 0.9 apart at best.
        assert!((0..100).all(|i| closest(i) > 0.25));
        assert!(
            all.iter()
                .all(|p| (p.distance() - RADIUS).abs() < 1e-12 && p.check().is_ok())
        );
    }
}
