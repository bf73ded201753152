//! A scene drawn by the program that goes on around the camera: the objects of [`analytic`], on a ground with pillars and balls
//! up to 9 away, under a sky. Nothing in its pictures is transparent, and their camera has a lens: what photographs are, with everything known.
//!
//! ```
//! use wgen::data::scene::landscape;
//!
//! let (camera, pose) = (landscape::camera(), landscape::poses(8, 0)[3]);
//! let small = camera.resized(16, 12);
//! let picture = landscape::picture(&small, &pose);
//! assert_eq!(picture.len(), 3 * small.pixels());
//! // Up there is the sky, however far one looks.
//! let up = landscape::seen(pose.position(), [0.0, 0.0, 1.0]);
//! assert!(up.distance > 5.0 && up.colour[2] > up.colour[0]);
//! ```
//!
//! All of it lies within the box of half side 12 around the origin, z up: 8 times as large as the one that holds the objects.

use rayon::prelude::*;

use super::analytic;
use super::pose::{Pose, dot, minus, normalized};
use super::{Camera, Lens};
use crate::nn::init::{generator, unit};

/// Half the side of the box that holds all of it.
pub const HALF_SIDE: f64 = 12.0;

/// Where the ground is.
const GROUND: f64 = -0.75;

/// How far the sky is from the origin.
const SKY: f64 = 11.5;

/// Rays a side through each pixel.
const FINE: usize = 3;

const LIGHT: [f64; 3] = [0.4, -0.3, 0.85];
const AMBIENT: f64 = 0.45;

/// Degrees, distance, radius, height of a column, colour.
type Thing = (f64, f64, f64, Option<f64>, [f64; 3]);

/// Around the objects: upright columns and balls, at so many degrees and so far from the origin, of radius and (columns) height, and a colour.
const AROUND: [Thing; 12] = [
    (10.0, 4.0, 0.35, Some(2.2), [0.75, 0.35, 0.25]),
    (38.0, 6.5, 0.8, None, [0.25, 0.5, 0.75]),
    (70.0, 5.0, 0.5, Some(1.4), [0.85, 0.75, 0.35]),
    (95.0, 8.5, 0.9, Some(4.0), [0.5, 0.45, 0.6]),
    (128.0, 4.6, 0.6, None, [0.8, 0.5, 0.6]),
    (150.0, 7.0, 0.6, Some(3.0), [0.35, 0.6, 0.4]),
    (185.0, 5.2, 0.45, Some(1.8), [0.6, 0.3, 0.5]),
    (214.0, 8.0, 1.2, None, [0.85, 0.55, 0.25]),
    (240.0, 4.3, 0.4, Some(2.6), [0.3, 0.45, 0.65]),
    (275.0, 6.2, 0.7, Some(2.0), [0.7, 0.65, 0.55]),
    (305.0, 4.8, 0.55, None, [0.4, 0.7, 0.7]),
    (340.0, 7.6, 0.8, Some(3.5), [0.65, 0.4, 0.35]),
];

/// What a ray sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// How far away it is, in lengths of the ray's direction.
    pub distance: f64,
    /// Red, green and blue in [0, 1].
    pub colour: [f64; 3],
}

/// Where the line from o along d enters a ball or, without its ends, an upright column: the nearest place before the ray's origin.
fn enters(o: [f64; 3], d: [f64; 3], centre: [f64; 3], radius: f64, flat: bool) -> Option<f64> {
    let upright = if flat { 0.0 } else { 1.0 };
    let project = |v: [f64; 3]| [v[0], v[1], v[2] * upright];
    let (from, along) = (project(minus(o, centre)), project(d));
    let (a, b, c) = (
        dot(along, along),
        dot(from, along),
        dot(from, from) - radius * radius,
    );
    let root = b * b - a * c;
    let t = (-b - root.max(0.0).sqrt()) / a;
    (root > 0.0 && t > 0.0).then_some(t)
}

/// The colours of the ground, the sky and what stands on it change slowly, so that pixels show them as they are.
fn waves(at: [f64; 3], length: f64) -> f64 {
    let phase = std::f64::consts::TAU / length;
    0.5 + 0.25 * ((at[0] * phase).sin() + (at[1] * phase + 0.7).sin() * (at[2] * phase + 0.3).cos())
}

fn mixed(a: [f64; 3], b: [f64; 3], share: f64) -> [f64; 3] {
    [0, 1, 2].map(|c| a[c] + share * (b[c] - a[c]))
}

/// What a ray from within the sky sees first.
pub fn seen(origin: [f64; 3], direction: [f64; 3]) -> Seen {
    let at = |t: f64| [0, 1, 2].map(|i| origin[i] + t * direction[i]);
    let light = normalized(LIGHT);
    let shade = |normal: [f64; 3]| AMBIENT + (1.0 - AMBIENT) * dot(normal, light).max(0.0);
    // The sky: a sphere from its inside.
    let (a, b) = (dot(direction, direction), dot(origin, direction));
    let c = dot(origin, origin) - SKY * SKY;
    let t = (-b + (b * b - a * c).max(0.0).sqrt()) / a;
    let height = (at(t)[2] / SKY).clamp(0.0, 1.0);
    let haze = mixed([0.85, 0.82, 0.75], [0.3, 0.5, 0.85], height.sqrt());
    let mut nearest = Seen {
        distance: t,
        colour: mixed(haze, [0.95, 0.95, 0.95], 0.35 * waves(at(t), 9.0)),
    };
    let mut nearer = |distance: f64, colour: &dyn Fn([f64; 3]) -> [f64; 3]| {
        if distance > 0.0 && distance < nearest.distance {
            nearest = Seen {
                distance,
                colour: colour(at(distance)),
            };
        }
    };
    nearer((GROUND - origin[2]) / direction[2], &|p| {
        let lit = mixed([0.35, 0.3, 0.25], [0.55, 0.6, 0.35], waves(p, 2.5));
        lit.map(|x| x * shade([0.0, 0.0, 1.0]))
    });
    for (angle, away, radius, height, colour) in AROUND {
        let (sine, cosine) = angle.to_radians().sin_cos();
        let top = GROUND + height.unwrap_or(radius);
        let centre = [away * cosine, away * sine, top];
        if let Some(t) = enters(origin, direction, centre, radius, height.is_some())
            && (height.is_none() || at(t)[2] < top)
        {
            nearer(t, &|p| {
                let mut out = minus(p, centre);
                if height.is_some() {
                    out[2] = 0.0;
                }
                let darker = mixed(colour, colour.map(|x| 0.5 * x), waves(p, 1.2));
                darker.map(|x| x * shade(normalized(out)))
            });
        }
        // The column's top.
        if height.is_some() {
            let t = (top - origin[2]) / direction[2];
            let beside = minus(at(t), centre);
            if beside[0].hypot(beside[1]) < radius {
                nearer(t, &|_| colour.map(|x| x * shade([0.0, 0.0, 1.0])));
            }
        }
    }
    if let Some(hit) = analytic::hit(origin, direction) {
        nearer(hit.t, &|_| hit.colour);
    }
    nearest
}

/// The camera of its pictures: wide, with the distortion of a telephone's.
pub fn camera() -> Camera {
    Camera {
        fy: 112.5,
        cx: 81.5,
        cy: 59.0,
        lens: Lens::Opencv {
            k1: -0.09,
            k2: 0.02,
            p1: 6e-4,
            p2: -4e-4,
            k3: 0.0,
        },
        ..Camera::centred(160, 120, 112.0)
    }
}

/// Cameras from 2.2 to 3.2 away from the origin and a little above the ground: two in three look at what stands in the middle, one past it.
pub fn poses(count: usize, seed: u64) -> Vec<Pose> {
    let mut rng = generator(seed, "cameras of the landscape");
    let mut draw = || f64::from(unit(&mut rng));
    let start = draw();
    let turn = 0.5 * (5.0_f64.sqrt() - 1.0);
    let one = |i: usize| {
        let angle = std::f64::consts::TAU * (start + turn * i as f64);
        let away = 2.2 + draw();
        let place = [away * angle.cos(), away * angle.sin(), 0.1 + 1.1 * draw()];
        let mut target = [0, 1, 2].map(|_| 0.4 * (draw() - 0.5));
        if i % 3 == 2 {
            let beside = angle + 2.2 + draw();
            target = [4.0 * beside.cos(), 4.0 * beside.sin(), draw()];
        }
        Pose::looking(place, target, [0.0, 0.0, 1.0])
    };
    (0..count).map(one).collect()
}

/// A view as RGB, row after row: each pixel the mean of what several rays through it see, through the camera's lens.
pub fn picture(camera: &Camera, pose: &Pose) -> Vec<u8> {
    let place = |k: usize| (k as f64 + 0.5) / FINE as f64;
    let pixel = |i: usize| {
        let (x, y) = ((i % camera.width) as f64, (i / camera.width) as f64);
        let mut sum = [0.0; 3];
        for k in 0..FINE * FINE {
            let d = camera.direction(x + place(k % FINE), y + place(k / FINE));
            let colour = seen(pose.position(), pose.rotated(d)).colour;
            sum = [0, 1, 2].map(|c| sum[c] + colour[c] / (FINE * FINE) as f64);
        }
        sum.map(|c| (255.0 * c.clamp(0.0, 1.0)).round() as u8)
    };
    let pixels: Vec<[u8; 3]> = (0..camera.pixels()).into_par_iter().map(pixel).collect();
    pixels.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_seen_lies_in_the_box_and_before_the_sky() {
        let mut kinds = [0; 2];
        for pose in poses(12, 1) {
            let o = pose.position();
            assert!(dot(o, o).sqrt() < 3.5 && o[2] > GROUND);
            for y in (0..120).step_by(11) {
                for x in (0..160).step_by(13) {
                    let d = pose.rotated(camera().direction(f64::from(x), f64::from(y)));
                    let seen = seen(o, d);
                    let p = [0, 1, 2].map(|i| o[i] + seen.distance * d[i]);
                    assert!(seen.distance > 0.0 && dot(p, p).sqrt() < SKY + 1e-9);
                    assert!(p[2] > GROUND - 1e-9 && p.iter().all(|x| x.abs() < HALF_SIDE));
                    assert!(seen.colour.iter().all(|c| (0.0..=1.0).contains(c)));
                    kinds[usize::from(dot(p, p) > 16.0)] += 1;
                }
            }
        }
        assert!(kinds[0] > 200 && kinds[1] > 200, "{kinds:?}");
    }
}
