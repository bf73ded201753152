//! Ways for a camera: round an object, a spiral before a scene, or what a file lists.
//!
//! ```
//! use wgen::data::scene::path;
//!
//! let orbit = path::orbit(40, -30.0, 4.0);
//! assert_eq!(orbit.len(), 40);
//! for pose in &orbit {
//!     assert!((pose.distance() - 4.0).abs() < 1e-12 && pose.check().is_ok());
//!     assert!((pose.position()[2] - 2.0).abs() < 1e-12); // 30 degrees above the ground
//! }
//! ```

use std::path::Path as FilePath;

use serde::Deserialize;

use super::pose::{Pose, cross, dot, minus, normalized};
use super::transforms;
use crate::error::{Error, Result};

/// The frames of nerf-pytorch's orbit.
pub const ORBIT_FRAMES: usize = 40;

/// The frames of LLFF's spiral.
pub const SPIRAL_FRAMES: usize = 120;

/// A camera on a sphere of `radius` round the origin that looks at it, z up: `theta` degrees round it, `phi` degrees below the ground (-30 looks
/// down from 30 degrees above), as nerf-pytorch's `pose_spherical`.
pub fn spherical(theta: f64, phi: f64, radius: f64) -> Pose {
    let (sin_t, cos_t) = theta.to_radians().sin_cos();
    let (sin_p, cos_p) = phi.to_radians().sin_cos();
    // Pushed back along z, turned about x by phi, about y by -theta; then y becomes z, z becomes y, and x is mirrored.
    let turned = [
        [cos_t, -sin_t * sin_p, -sin_t * cos_p],
        [0.0, cos_p, -sin_p],
        [sin_t, cos_t * sin_p, cos_t * cos_p],
    ];
    let column = |c: usize| [-turned[0][c], turned[2][c], turned[1][c]];
    let back = column(2);
    Pose::from_axes(column(0), column(1), back, back.map(|x| x * radius))
}

/// Once round the origin in `frames` steps, from theta = -180 degrees on: nerf-pytorch's way for Blender's scenes has 40 frames, phi = -30 and
/// radius 4.
pub fn orbit(frames: usize, phi: f64, radius: f64) -> Vec<Pose> {
    let theta = |i: usize| -180.0 + 360.0 * i as f64 / frames as f64;
    (0..frames)
        .map(|i| spherical(theta(i), phi, radius))
        .collect()
}

/// The mean of poses: the mean place, the mean axis, and what is up in the mean. LLFF's `poses_avg`.
///
/// # Errors
/// When there are none, or their axes cancel out: cameras round an object have no mean.
pub fn mean(poses: &[Pose]) -> Result<Pose> {
    let sum = |axis: usize| {
        poses.iter().fold([0.0; 3], |s, pose| {
            let a = pose.axis(axis);
            [0, 1, 2].map(|i| s[i] + a[i])
        })
    };
    let (back, up) = (sum(2), sum(1));
    let count = poses.len() as f64;
    let right = cross(up, back);
    if poses.is_empty() || dot(right, right).sqrt() < 1e-6 * count * count {
        return Err(Error::Usage(format!(
            "{} cameras have no mean direction: a spiral is for cameras that look the same way, an orbit for those round an object",
            poses.len()
        )));
    }
    Ok(view(back, up, sum(3).map(|x| x / count)))
}

/// LLFF's `viewmatrix`: an axis, what is about up, a place.
fn view(back: [f64; 3], up: [f64; 3], position: [f64; 3]) -> Pose {
    let back = normalized(back);
    let right = normalized(cross(up, back));
    Pose::from_axes(right, normalized(cross(back, right)), back, position)
}

/// LLFF's spiral: `turns` turns round the mean of `poses` in `frames` frames, as far out as the 90th percentile of theirs, looking at a place
/// whose depth lies between `near` and `far`, the scene's bounds: 1 / (0.25 / (0.9 near) + 0.75 / (5 far)). nerf-pytorch has 120 frames of 2
/// turns.
///
/// # Errors
/// When the poses have no mean, or the bounds are not 0 < near < far.
pub fn spiral(poses: &[Pose], near: f64, far: f64, frames: usize, turns: f64) -> Result<Vec<Pose>> {
    if !(near > 0.0 && near < far && far.is_finite()) {
        return Err(Error::Usage(format!(
            "a spiral wants bounds 0 < near < far, got near {near} and far {far}"
        )));
    }
    let middle = mean(poses)?;
    let up = poses.iter().fold([0.0; 3], |s, pose| {
        let a = pose.axis(1);
        [0, 1, 2].map(|i| s[i] + a[i])
    });
    let focus = 1.0 / (0.25 / (0.9 * near) + 0.75 / (5.0 * far));
    // How far out the cameras are, along each axis of the mean.
    let radii = [0, 1, 2].map(|axis| {
        let out =
            |pose: &Pose| dot(minus(pose.position(), middle.position()), middle.axis(axis)).abs();
        percentile(poses.iter().map(out).collect(), 0.9)
    });
    let place = |local: [f64; 3]| {
        let turned = middle.rotated(local);
        let centre = middle.position();
        [0, 1, 2].map(|i| centre[i] + turned[i])
    };
    let target = place([0.0, 0.0, -focus]);
    let frame = |i: usize| {
        let angle = std::f64::consts::TAU * turns * i as f64 / frames as f64;
        let position = place([
            angle.cos() * radii[0],
            -angle.sin() * radii[1],
            -(0.5 * angle).sin() * radii[2],
        ]);
        view(minus(position, target), up, position)
    };
    Ok((0..frames).map(frame).collect())
}

/// The value below which a share of the values lies, between two of them in proportion, as NumPy's `percentile`.
fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = share * (values.len() - 1) as f64;
    let below = values[place.floor() as usize];
    let above = values[place.ceil() as usize];
    below + (above - below) * place.fract()
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    Matrices(Vec<Matrix>),
    Frames { frames: Vec<FrameText> },
}

type Matrix = Vec<Vec<Option<f64>>>;

#[derive(Deserialize)]
struct FrameText {
    transform_matrix: Matrix,
}

/// The poses that a JSON file lists: an array of 4x4 (or 3x4) matrices from camera to world, or `{"frames": [{"transform_matrix": ..}, ..]}` as
/// scenes have it.
///
/// # Errors
/// When the file cannot be read, is neither of these, is empty, or a matrix is no rigid motion.
pub fn from_json(path: &FilePath) -> Result<Vec<Pose>> {
    let text = transforms::text_of(path)?;
    let matrices: Vec<Matrix> = match transforms::json(path, &text)? {
        Listed::Matrices(matrices) => matrices,
        Listed::Frames { frames } => frames.into_iter().map(|f| f.transform_matrix).collect(),
    };
    if matrices.is_empty() {
        return Err(Error::format(path, "lists no poses"));
    }
    let one = |(i, matrix): (usize, Matrix)| {
        let numbers = |row: Vec<Option<f64>>| row.into_iter().map(|x| x.unwrap_or(f64::NAN));
        let rows: Vec<Vec<f64>> = matrix
            .into_iter()
            .map(|row| numbers(row).collect())
            .collect();
        Pose::from_rows(&rows).map_err(|why| Error::format(path, format!("pose {i} {why}")))
    };
    matrices.into_iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pose_on_a_sphere_is_nerf_pytorchs() {
        let expected = [
            [-0.866025404, -0.25, 0.433012702, 1.732050808],
            [0.5, -0.433012702, 0.75, 3.0],
            [0.0, 0.866025404, 0.5, 2.0],
        ];
        let pose = spherical(30.0, -30.0, 4.0);
        for (a, b) in pose.0.iter().zip(expected.as_flattened()) {
            assert!((a - b).abs() < 1e-9, "{pose:?}");
        }
        assert!(pose.check().is_ok());
    }

    #[test]
    fn percentiles_are_numpys() {
        // numpy.percentile([3, 1, 2, 10], 90) = 7.9
        assert!((percentile(vec![3.0, 1.0, 2.0, 10.0], 0.9) - 7.9).abs() < 1e-12);
        assert_eq!(percentile(vec![5.0], 0.9), 5.0);
    }

    #[test]
    fn what_no_spiral_can_be_made_of_is_said() {
        let round = orbit(8, 0.0, 4.0);
        let message = spiral(&round, 1.0, 2.0, 3, 2.0).unwrap_err().to_string();
        assert!(message.contains("orbit"), "{message}");
        assert!(spiral(&[], 1.0, 2.0, 3, 2.0).is_err());
        for (near, far) in [
            (0.0, 1.0),
            (2.0, 1.0),
            (1.0, f64::INFINITY),
            (f64::NAN, 1.0),
        ] {
            let message = spiral(&round[..1], near, far, 3, 2.0)
                .unwrap_err()
                .to_string();
            assert!(message.contains("near"), "{message}");
        }
    }

    #[test]
    fn paths_are_read_in_both_forms_and_refused_by_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("path.json");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            from_json(&path).map_err(|e| e.to_string())
        };
        let m = "[[1,0,0,5],[0,1,0,6],[0,0,1,7],[0,0,0,1]]";
        let poses = read(&format!("[{m}, {m}]")).unwrap();
        assert_eq!((poses.len(), poses[1].position()), (2, [5.0, 6.0, 7.0]));
        let frames =
            format!(r#"{{"fps": 3, "frames": [{{"file_path": "a", "transform_matrix": {m}}}]}}"#);
        assert_eq!(read(&frames).unwrap(), poses[..1]);
        let wrong = m.replace("[0,1,0,6]", "[0,NaN,0,6]");
        for (text, words) in [
            (
                format!("[{m}, {wrong}]"),
                "pose 1 has what is not a finite number",
            ),
            (format!("[{m}, [[1]]]"), "pose 1 must be 4 rows"),
            ("[]".to_owned(), "lists no poses"),
            (r#"{"camera_path": []}"#.to_owned(), "no list of cameras"),
            ("[".to_owned(), "no list of cameras"),
        ] {
            let message = read(&text).unwrap_err();
            assert!(
                message.contains(words) && message.contains("path.json"),
                "{message}"
            );
        }
    }
}
