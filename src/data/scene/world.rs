//! From the world of a scene's files to the one that its views are in here, and back.
//!
//! ```
//! use wgen::data::scene::{Pose, World};
//!
//! // Twice as large, then shifted.
//! let world = World { scale: 2.0, shift: [0.0, 0.0, 1.0], ..World::default() };
//! assert_eq!(world.point([1.0, 2.0, 3.0]), [2.0, 4.0, 7.0]);
//! let back = world.inverse();
//! assert_eq!(back.point(world.point([1.0, 2.0, 3.0])), [1.0, 2.0, 3.0]);
//!
//! // A camera keeps its size: it is turned and moved.
//! let camera = Pose::looking([1.0, 1.0, 1.0], [0.0; 3], [0.0, 0.0, 1.0]);
//! let here = world.pose(&camera);
//! assert_eq!(here.position(), [2.0, 2.0, 3.0]);
//! assert!(here.check().is_ok());
//! ```

use serde::{Deserialize, Serialize};

use super::pose::{Pose, dot};

/// A similarity, `scale * rotation * x + shift`: what was done to the world of a scene's files. Its [inverse](Self::inverse) takes meshes, points and
/// ways of a camera back there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// How many times larger things are here.
    pub scale: f64,
    /// The rows of the rotation.
    pub rotation: [[f64; 3]; 3],
    /// Where the file's origin is here.
    pub shift: [f64; 3],
}

impl Default for World {
    /// As the file has it.
    fn default() -> Self {
        Self {
            scale: 1.0,
            rotation: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            shift: [0.0; 3],
        }
    }
}

impl World {
    /// Whether nothing is done.
    pub fn is_identity(&self) -> bool {
        *self == Self::default()
    }

    /// A direction of the file's world in this one: turned, of its own length.
    pub fn direction(&self, d: [f64; 3]) -> [f64; 3] {
        self.rotation.map(|row| dot(row, d))
    }

    /// A place of the file's world in this one.
    pub fn point(&self, p: [f64; 3]) -> [f64; 3] {
        let turned = self.direction(p);
        [0, 1, 2].map(|i| self.scale * turned[i] + self.shift[i])
    }

    /// A camera of the file's world in this one.
    pub fn pose(&self, pose: &Pose) -> Pose {
        // Bit for bit, also the sign of a zero.
        if self.is_identity() {
            return *pose;
        }
        let [right, up, back] = [0, 1, 2].map(|axis| self.direction(pose.axis(axis)));
        Pose::from_axes(right, up, back, self.point(pose.position()))
    }

    /// From this world to the file's.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let rotation = [0, 1, 2].map(|i| self.rotation.map(|row| row[i]));
        let shift = rotation.map(|row| -dot(row, self.shift) / self.scale);
        Self {
            scale: 1.0 / self.scale,
            rotation,
            shift,
        }
    }

    /// The same with everything here `by` times larger.
    #[must_use]
    pub fn scaled(&self, by: f64) -> Self {
        Self {
            scale: self.scale * by,
            shift: self.shift.map(|x| x * by),
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inverse_takes_back() {
        let turned = Pose::looking([3.0, -1.0, 2.0], [0.5, 0.0, 0.0], [0.1, 0.0, 1.0]);
        let world = World {
            scale: 0.37,
            rotation: [0, 1, 2].map(|row| [0, 1, 2].map(|c| turned.0[4 * row + c])),
            shift: [5.0, -2.0, 0.25],
        }
        .scaled(3.0);
        let camera = Pose::looking([1.0, 2.0, -4.0], [0.0; 3], [0.0, 1.0, 0.0]);
        let back = world.inverse().pose(&world.pose(&camera));
        assert!((0..12).all(|i| (back.0[i] - camera.0[i]).abs() < 1e-12));
        // What a camera sees stays where it is in its picture.
        let p = [0.3, 0.2, 0.1];
        let seen = |pose: &Pose, p: [f64; 3]| {
            let d = [0, 1, 2].map(|i| p[i] - pose.position()[i]);
            let [x, y, z] = [0, 1, 2].map(|axis| dot(pose.axis(axis), d));
            [x / z, y / z]
        };
        let (a, b) = (seen(&camera, p), seen(&world.pose(&camera), world.point(p)));
        assert!((0..2).all(|i| (a[i] - b[i]).abs() < 1e-12));
    }

    #[test]
    fn an_identity_changes_no_bit() {
        let camera = Pose([
            -0.0, 1.0, 0.0, 2.0, 0.0, 0.0, 1.0, -0.0, 1.0, -0.0, 0.0, 1e-300,
        ]);
        let bits = |pose: &Pose| pose.0.map(f64::to_bits);
        assert_eq!(bits(&World::default().pose(&camera)), bits(&camera));
    }
}
