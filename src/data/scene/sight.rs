//! Where cameras look: what a scene's own world says too little of, found from the cameras themselves.

use nalgebra::{Matrix3, SymmetricEigen, Vector3};

use super::pose::{Pose, cross, dot, minus, normalized};
use super::views::Views;
use super::world::World;

/// How far cameras are from what they look at in a world that is found from them: as far as those of Blender's scenes, whose bounds then fit.
pub(super) const DISTANCE: f64 = 4.0;

/// Below this eigenvalue of their mean projector, the mean square sine to the direction that they share, lines have no place in common.
const PARALLEL: f64 = 1e-4;

/// The middle of sorted numbers, or a place in them by share.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let place = (share * last as f64).round() as usize;
    sorted.get(place.min(last)).copied().unwrap_or(0.0)
}

/// Where the cameras' axes come nearest to one another, in the sense of least squares; nothing where they are parallel.
pub(super) fn meeting(poses: &[Pose]) -> Option<[f64; 3]> {
    let mut sum = Matrix3::<f64>::zeros();
    let mut right = Vector3::<f64>::zeros();
    for pose in poses {
        let axis = Vector3::from(pose.axis(2));
        let across = Matrix3::identity() - axis * axis.transpose();
        sum += across;
        right += across * Vector3::from(pose.position());
    }
    let count = poses.len().max(1) as f64;
    let least = SymmetricEigen::new(sum / count).eigenvalues.min();
    if least.is_nan() || least <= PARALLEL {
        return None;
    }
    let place = sum.try_inverse()? * right;
    place.iter().all(|x| x.is_finite()).then(|| place.into())
}

/// How far a place lies before a camera, along its axis.
pub(super) fn ahead(pose: &Pose, place: [f64; 3]) -> f64 {
    dot(minus(pose.position(), place), pose.axis(2))
}

/// How far a camera's axis passes a place.
pub(super) fn beside(pose: &Pose, place: [f64; 3]) -> f64 {
    let d = cross(minus(place, pose.position()), pose.axis(2));
    dot(d, d).sqrt()
}

/// The mean of what is up in the cameras' pictures; shorter than 1 where they differ.
pub(super) fn mean_up(poses: &[Pose]) -> [f64; 3] {
    let count = poses.len().max(1) as f64;
    poses.iter().fold([0.0; 3], |sum, pose| {
        let up = pose.axis(1);
        [0, 1, 2].map(|i| sum[i] + up[i] / count)
    })
}

/// The rotation by the least angle that takes a direction to +z.
fn upwards(up: [f64; 3]) -> [[f64; 3]; 3] {
    let [x, y, z] = normalized(up);
    if z < -1.0 + 1e-9 {
        return [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]];
    }
    let by = 1.0 / (1.0 + z);
    [
        [1.0 - x * x * by, -x * y * by, -x],
        [-x * y * by, 1.0 - y * y * by, -y],
        [x, y, z],
    ]
}

/// The world of cameras whose own has no up, no origin and no unit: what is up in the mean of their pictures is +z, where their axes meet is the
/// origin, and half of them are nearer to it than [`DISTANCE`]. Cameras whose axes meet nowhere before most of them are round the origin.
pub(super) fn upright(poses: &[Pose]) -> World {
    let up = mean_up(poses);
    let rotation = if dot(up, up).sqrt() > 0.05 {
        upwards(up)
    } else {
        World::default().rotation
    };
    let count = poses.len().max(1) as f64;
    let mean = poses.iter().fold([0.0; 3], |sum, pose| {
        let p = pose.position();
        [0, 1, 2].map(|i| sum[i] + p[i] / count)
    });
    let before_most = |place: &[f64; 3]| {
        let before = poses.iter().filter(|pose| ahead(pose, *place) > 0.0);
        2 * before.count() > poses.len()
    };
    let centre = meeting(poses).filter(before_most).unwrap_or(mean);
    let away = |pose: &Pose| {
        let d = minus(pose.position(), centre);
        dot(d, d).sqrt()
    };
    let mut distances: Vec<f64> = poses.iter().map(away).collect();
    distances.sort_unstable_by(f64::total_cmp);
    let distance = quantile(&distances, 0.5);
    let scale = if distance.is_normal() {
        DISTANCE / distance
    } else {
        1.0
    };
    let turned = rotation.map(|row| dot(row, centre));
    World {
        scale,
        rotation,
        shift: turned.map(|x| -scale * x),
    }
}

/// Views whose rays are looked at, and rays of each along a picture's side: odd, so that the middle is among them.
const VIEWS_TRIED: usize = 64;
const RAYS_TRIED: usize = 9;

/// Half the side of the least cube around the origin that a ray meets: the least of max(|x|, |y|, |z|) along it, which is convex.
fn least_cube(origin: [f64; 3], direction: [f64; 3]) -> f64 {
    let norm = |v: [f64; 3]| dot(v, v).sqrt();
    let at = |t: f64| (0..3).fold(0.0_f64, |m, i| m.max((origin[i] + t * direction[i]).abs()));
    // Behind that it is farther from the origin, in each sense, than where it begins.
    let (mut low, mut high) = (0.0, 3.0 * norm(origin) / norm(direction));
    for _ in 0..80 {
        let third = (high - low) / 3.0;
        if at(low + third) < at(high - third) {
            high -= third;
        } else {
            low += third;
        }
    }
    at(0.5 * (low + high)).min(at(0.0))
}

/// Half the sides of the least cubes around the origin that rays of these views meet, in order: of nine by nine rays of 64 views, spread evenly.
pub(crate) fn cubes(views: &Views) -> Vec<f64> {
    let all = views.poses.len();
    let tried = all.min(VIEWS_TRIED);
    let mut cubes = Vec::with_capacity(tried * RAYS_TRIED * RAYS_TRIED);
    for i in 0..tried {
        let view = i * all / tried;
        let (pose, camera) = (&views.poses[view], &views.cameras[view]);
        for place in 0..RAYS_TRIED * RAYS_TRIED {
            let along = |n: usize, size: usize| (n as f64 + 0.5) / RAYS_TRIED as f64 * size as f64;
            let x = along(place % RAYS_TRIED, camera.width);
            let y = along(place / RAYS_TRIED, camera.height);
            let direction = pose.rotated(camera.direction(x, y));
            // Where a lens cannot be undone there is no ray.
            if direction.iter().all(|x| x.is_finite()) {
                cubes.push(least_cube(pose.position(), direction));
            }
        }
    }
    cubes.sort_unstable_by(f64::total_cmp);
    cubes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cameras_tell_where_they_look_and_what_is_up() {
        // Round (1, 2, 3), 5 away, in a world whose up is -y.
        let target = [1.0, 2.0, 3.0];
        let camera = |i: usize| {
            let (sin, cos) = (i as f64).sin_cos();
            Pose::looking(
                [1.0 + 4.0 * sin, 2.0 - 3.0, 3.0 + 4.0 * cos],
                target,
                [0.0, -1.0, 0.0],
            )
        };
        let poses: Vec<Pose> = (0..12).map(camera).collect();
        let met = meeting(&poses).unwrap();
        assert!((0..3).all(|i| (met[i] - target[i]).abs() < 1e-9), "{met:?}");
        assert!(poses.iter().all(|p| (ahead(p, target) - 5.0).abs() < 1e-9));
        assert!(poses.iter().all(|p| beside(p, target) < 1e-9));
        let world = upright(&poses);
        assert!((world.scale - 0.8).abs() < 1e-9);
        let here: Vec<Pose> = poses.iter().map(|p| world.pose(p)).collect();
        assert!(here.iter().all(|p| (p.distance() - 4.0).abs() < 1e-9));
        assert!(here.iter().all(|p| p.check().is_ok()));
        // All of them stand 3 of 5 above it.
        let tilt = mean_up(&here);
        assert!(tilt[2] > 0.7 && tilt[0].hypot(tilt[1]) < 1e-9);
        assert!(here.iter().all(|p| (p.position()[2] - 2.4).abs() < 0.2));
    }

    #[test]
    fn cameras_that_meet_nowhere_are_round_the_origin() {
        let at = |x: f64| Pose::looking([x, 0.0, 7.0], [x, 0.0, 0.0], [0.0, 1.0, 0.0]);
        let poses = [at(-1.0), at(1.0), at(3.0)];
        assert_eq!(meeting(&poses), None);
        let world = upright(&poses);
        assert!((world.pose(&poses[1]).distance()) < 1e-12);
        assert!((world.scale - 2.0).abs() < 1e-12);
        assert_eq!(meeting(&[]), None);
        assert_eq!(upright(&[]), World::default());
        // One camera: where it looks is not known, where it is, is.
        assert!(upright(&poses[..1]).pose(&poses[0]).distance() < 1e-12);
    }

    #[test]
    fn what_is_up_becomes_z() {
        for up in [
            [0.0, -1.0, 0.0],
            [0.3, 0.2, -0.9],
            [0.0, 0.0, -1.0],
            [0.0, 0.0, 2.0],
        ] {
            let rotation = upwards(up);
            let z = rotation.map(|row| dot(row, normalized(up)));
            assert!((z[2] - 1.0).abs() < 1e-12, "{up:?}: {z:?}");
            for i in 0..3 {
                for j in 0..3 {
                    let product = dot(rotation[i], rotation[j]);
                    assert!((product - f64::from(u8::from(i == j))).abs() < 1e-12);
                }
            }
        }
    }
}
