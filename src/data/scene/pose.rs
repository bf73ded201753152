//! Where a camera is and where it looks.

use serde::{Deserialize, Serialize};

use crate::kernels::camera_rays::POSE_FLOATS;

/// How far a pose may be from a rigid motion: files have single precision, and six digits where they are written by hand.
const TOLERANCE: f64 = 1e-3;

/// From a camera's axes to the world: the rows of a 3x4 matrix [R | t], row after row. A camera looks along its -z, x right, y up; t is where it
/// is, in the units of the world.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pose(pub [f64; POSE_FLOATS]);

impl Pose {
    /// The pose whose axes in the world are these, at `position`.
    pub fn from_axes(right: [f64; 3], up: [f64; 3], back: [f64; 3], position: [f64; 3]) -> Self {
        let columns = [right, up, back, position];
        Self(std::array::from_fn(|i| columns[i % 4][i / 4]))
    }

    /// A camera at `position` that looks at `target`, the picture's up as near to `up` as can be. `up` must not point along its axis.
    pub fn looking(position: [f64; 3], target: [f64; 3], up: [f64; 3]) -> Self {
        let back = normalized(minus(position, target));
        let right = normalized(cross(up, back));
        Self::from_axes(right, cross(back, right), back, position)
    }

    /// The pose of a 4x4 or 3x4 matrix, as files have it; what is not a number is NaN.
    ///
    /// # Errors
    /// When it is none of these sizes, has what is not finite, or is no rigid motion. The message goes on from the matrix's name.
    pub fn from_rows(rows: &[Vec<f64>]) -> Result<Self, String> {
        let sizes: Vec<usize> = rows.iter().map(Vec::len).collect();
        if !(rows.len() == 4 || rows.len() == 3) || sizes.iter().any(|&n| n != 4) {
            return Err(format!(
                "must be 4 rows (or 3) of 4 numbers, has rows of {sizes:?}"
            ));
        }
        let values: Vec<f64> = rows.iter().flatten().copied().collect();
        // As f32 they have to be finite, too.
        if let Some(at) = values.iter().position(|x| !(*x as f32).is_finite()) {
            return Err(format!(
                "has what is not a finite number ({}) in row {}, column {}",
                values[at],
                at / 4,
                at % 4
            ));
        }
        if let Some(last) = values.get(12..16)
            && (0..4).any(|i| (last[i] - [0.0, 0.0, 0.0, 1.0][i]).abs() > TOLERANCE)
        {
            return Err(format!("has the last row {last:?}, which must be 0 0 0 1"));
        }
        let mut pose = [0.0; POSE_FLOATS];
        pose.copy_from_slice(&values[..POSE_FLOATS]);
        let pose = Self(pose);
        pose.check()?;
        Ok(pose)
    }

    /// Refuses what is no rotation and a shift: what scales, shears or mirrors, or has no numbers.
    ///
    /// # Errors
    /// The message goes on from the pose's name.
    pub fn check(&self) -> Result<(), String> {
        if self.0.iter().any(|x| !x.is_finite()) {
            return Err("has what is not a finite number".to_owned());
        }
        let axes = [0, 1, 2].map(|i| self.axis(i));
        let lengths = axes.map(|a| dot(a, a).sqrt());
        if lengths.iter().any(|l| (l - 1.0).abs() > TOLERANCE) {
            return Err(format!(
                "is no rigid motion: its axes have the lengths {:.4}, {:.4} and {:.4}, which must be 1 (a camera that was scaled? apply its scale)",
                lengths[0], lengths[1], lengths[2]
            ));
        }
        let products = [(0, 1), (0, 2), (1, 2)].map(|(i, j)| dot(axes[i], axes[j]));
        if let Some(product) = products.iter().find(|p| p.abs() > TOLERANCE) {
            return Err(format!(
                "is no rigid motion: its axes are not at right angles (a product of two is {product:.4})"
            ));
        }
        if dot(cross(axes[0], axes[1]), axes[2]) < 0.0 {
            return Err(
                "is no rigid motion: it mirrors (its third axis must be the product of the first two)"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Where the camera is.
    pub fn position(&self) -> [f64; 3] {
        self.axis(3)
    }

    /// Its axis in the world: 0 to the picture's right, 1 up, 2 backwards.
    pub fn axis(&self, axis: usize) -> [f64; 3] {
        [0, 4, 8].map(|row| self.0[row + axis])
    }

    /// A direction of the camera's axes in the world's.
    pub fn rotated(&self, d: [f64; 3]) -> [f64; 3] {
        [0, 4, 8].map(|row| dot([self.0[row], self.0[row + 1], self.0[row + 2]], d))
    }

    /// Its distance from the world's origin.
    pub fn distance(&self) -> f64 {
        let p = self.position();
        dot(p, p).sqrt()
    }
}

pub(super) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

pub(super) fn minus(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(super) fn normalized(a: [f64; 3]) -> [f64; 3] {
    let length = dot(a, a).sqrt();
    a.map(|x| x / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(pose: &Pose) -> Vec<Vec<f64>> {
        pose.0.chunks(4).map(<[f64]>::to_vec).collect()
    }

    #[test]
    fn what_is_no_rigid_motion_is_refused_with_its_reason() {
        let pose = Pose::looking([1.0, 2.0, 3.0], [0.0; 3], [0.0, 0.0, 1.0]);
        assert_eq!(Pose::from_rows(&rows(&pose)).unwrap(), pose);
        assert_eq!(pose.position(), [1.0, 2.0, 3.0]);
        let ahead = pose.rotated([0.0, 0.0, -1.0]);
        assert!((dot(ahead, pose.position()) + 14_f64.sqrt()).abs() < 1e-12);

        let refused = |change: &dyn Fn(&mut Vec<Vec<f64>>), word: &str| {
            let mut rows = rows(&pose);
            rows.push(vec![0.0, 0.0, 0.0, 1.0]);
            change(&mut rows);
            let message = Pose::from_rows(&rows).unwrap_err();
            assert!(message.contains(word), "{message}");
        };
        let scale = |by: f64| {
            move |rows: &mut Vec<Vec<f64>>| {
                rows[..3]
                    .iter_mut()
                    .for_each(|row| row[..3].iter_mut().for_each(|x| *x *= by));
            }
        };
        refused(&scale(2.0), "lengths 2.0000");
        refused(&scale(1.002), "lengths 1.0020");
        refused(&scale(-1.0), "mirrors");
        refused(
            &|rows| (0..3).for_each(|i| rows[i][0] = rows[i][1]),
            "right angles",
        );
        refused(&|rows| rows[1][2] = f64::NAN, "(NaN) in row 1, column 2");
        refused(&|rows| rows[2][3] = 1e39, "row 2, column 3");
        refused(&|rows| rows[3][3] = 2.0, "last row");
        refused(&|rows| rows.truncate(2), "rows of [4, 4]");
        refused(&|rows| rows[0].truncate(3), "rows of [3, 4, 4, 4]");
    }
}
