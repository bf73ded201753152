//! A scene of which everything is known, written down in each of the formats that scenes have.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use tempfile::TempDir;
use wgen::data::scene::{Camera, Pose};

/// Cameras, where pictures were taken, and points that are seen in them, in a world of its own.
pub(crate) struct Scene {
    pub(crate) camera: Camera,
    pub(crate) poses: Vec<Pose>,
    pub(crate) points: Vec<[f64; 3]>,
    pub(crate) names: Vec<String>,
    folder: TempDir,
}

/// What its cameras look at.
pub(crate) const MIDDLE: [f64; 3] = [0.3, -0.2, 0.5];

impl Scene {
    /// `views` cameras, 5 away from what they look at and above it, z up.
    pub(crate) fn new(views: usize, camera: Camera) -> Self {
        let pose = |i: usize| {
            let angle = 0.4 + 2.4 * i as f64;
            let up = 0.35 + 0.05 * (i % 5) as f64;
            let away = [angle.cos() * up.cos(), angle.sin() * up.cos(), up.sin()];
            let place = [0, 1, 2].map(|k| MIDDLE[k] + 5.0 * away[k]);
            Pose::looking(place, MIDDLE, [0.0, 0.0, 1.0])
        };
        // Within a cube of half side 1 round the middle.
        let spread = |i: usize, by: f64| 2.0 * (i as f64 * by).fract() - 1.0;
        let point = |i: usize| {
            let at = [
                spread(i, 0.618_034),
                spread(i, 0.414_214),
                spread(i, 0.732_051),
            ];
            [0, 1, 2].map(|k| MIDDLE[k] + at[k])
        };
        Self {
            camera,
            poses: (0..views).map(pose).collect(),
            points: (1..=60).map(point).collect(),
            names: (0..views).map(|i| format!("a view {i:02}.png")).collect(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// 32 x 24 pixels, a field of view of 53 degrees.
    pub(crate) fn usual(views: usize) -> Self {
        Self::new(views, Camera::centred(32, 24, 32.0))
    }

    pub(crate) fn dir(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let path = self.dir().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Pictures in a folder, each of a grey of its own.
    pub(crate) fn pictures(&self, folder: &str) {
        for (i, name) in self.names.iter().enumerate() {
            let (w, h) = (self.camera.width as u32, self.camera.height as u32);
            let picture = RgbImage::from_pixel(w, h, Rgb([i as u8 + 1; 3]));
            picture
                .save(self.path(&format!("{folder}/{name}")))
                .unwrap();
        }
    }

    /// Where the points are seen in a view, and their numbers.
    pub(crate) fn seen(&self, view: usize) -> Vec<([f64; 2], usize)> {
        let pose = &self.poses[view];
        let one = |(i, point): (usize, &[f64; 3])| {
            let d = [0, 1, 2].map(|k| point[k] - pose.position()[k]);
            let local = [0, 1, 2].map(|axis| (0..3).map(|k| pose.axis(axis)[k] * d[k]).sum());
            Some((self.camera.place(local)?, i))
        };
        self.points.iter().enumerate().filter_map(one).collect()
    }

    /// A line of `cameras.txt` behind the number.
    pub(crate) fn camera_line(&self) -> String {
        let c = &self.camera;
        let (kind, k) = c.lens.coefficients();
        let (model, more) = match kind {
            0 => ("PINHOLE", vec![]),
            1 => (
                "FULL_OPENCV",
                vec![k[0], k[1], k[3], k[4], k[2], 0.0, 0.0, 0.0],
            ),
            _ => ("OPENCV_FISHEYE", k[..4].to_vec()),
        };
        let numbers = [c.fx, c.fy, c.cx, c.cy].into_iter().chain(more);
        let numbers: Vec<String> = numbers.map(|x| format!("{x:?}")).collect();
        format!("{model} {} {} {}", c.width, c.height, numbers.join(" "))
    }

    /// The three files of a model as text.
    pub(crate) fn colmap_text(&self, folder: &str) {
        self.file(
            &format!("{folder}/cameras.txt"),
            format!("# Camera list\n7 {}\n", self.camera_line()),
        );
        let (mut images, mut points) = ("# Image list\n".to_owned(), String::new());
        for (i, (pose, name)) in self.poses.iter().zip(&self.names).enumerate() {
            let (q, t) = to_camera(pose);
            let numbers: Vec<String> = q.iter().chain(&t).map(|x| format!("{x:?}")).collect();
            writeln!(images, "{} {} 7 {name}", i + 1, numbers.join(" ")).unwrap();
            let seen = self.seen(i);
            let words: Vec<String> = seen
                .iter()
                .map(|([x, y], p)| format!("{x:?} {y:?} {}", p + 100))
                .collect();
            // One that belongs to no point.
            writeln!(images, "1.5 2.5 -1 {}", words.join(" ")).unwrap();
        }
        for (i, [x, y, z]) in self.points.iter().enumerate() {
            writeln!(points, "{} {x:?} {y:?} {z:?} 1 2 3 0.5 1 0 2 0", i + 100).unwrap();
        }
        self.file(&format!("{folder}/images.txt"), images);
        self.file(&format!("{folder}/points3D.txt"), points);
    }

    /// The same as bytes.
    pub(crate) fn colmap_binary(&self, folder: &str) {
        let reals = |all: &[f64]| all.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>();
        let c = &self.camera;
        let (kind, k) = c.lens.coefficients();
        let mut cameras = 1_u64.to_le_bytes().to_vec();
        cameras.extend(7_u32.to_le_bytes());
        cameras.extend([1_u32, 6, 5][kind as usize].to_le_bytes());
        cameras.extend((c.width as u64).to_le_bytes());
        cameras.extend((c.height as u64).to_le_bytes());
        cameras.extend(reals(&[c.fx, c.fy, c.cx, c.cy]));
        cameras.extend(match kind {
            0 => vec![],
            1 => reals(&[k[0], k[1], k[3], k[4], k[2], 0.0, 0.0, 0.0]),
            _ => reals(&k[..4]),
        });
        self.file(&format!("{folder}/cameras.bin"), cameras);
        let mut images = (self.poses.len() as u64).to_le_bytes().to_vec();
        for (i, (pose, name)) in self.poses.iter().zip(&self.names).enumerate() {
            let (q, t) = to_camera(pose);
            images.extend((i as u32 + 1).to_le_bytes());
            images.extend(reals(&q));
            images.extend(reals(&t));
            images.extend(7_u32.to_le_bytes());
            images.extend(name.bytes().chain([0]));
            let seen = self.seen(i);
            images.extend((seen.len() as u64 + 1).to_le_bytes());
            images.extend(reals(&[1.5, 2.5]));
            images.extend(u64::MAX.to_le_bytes());
            for (at, point) in seen {
                images.extend(reals(&at));
                images.extend((point as u64 + 100).to_le_bytes());
            }
        }
        self.file(&format!("{folder}/images.bin"), images);
        let mut points = (self.points.len() as u64).to_le_bytes().to_vec();
        for (i, at) in self.points.iter().enumerate() {
            points.extend((i as u64 + 100).to_le_bytes());
            points.extend(reals(at));
            points.extend([1, 2, 3]);
            points.extend(reals(&[0.5]));
            points.extend(1_u64.to_le_bytes());
            points.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        }
        self.file(&format!("{folder}/points3D.bin"), points);
    }

    /// A list of transforms; `head` goes before its frames, and `frame` says what each has beside its matrix.
    pub(crate) fn transforms(&self, name: &str, head: &str, frame: impl Fn(usize) -> String) {
        let mut frames = Vec::new();
        for (i, (pose, picture)) in self.poses.iter().zip(&self.names).enumerate() {
            let rows: Vec<String> = pose.0.chunks(4).map(|row| format!("{row:?}")).collect();
            frames.push(format!(
                r#"{{"file_path": "images/{picture}", {} "transform_matrix": [{}, [0, 0, 0, 1]]}}"#,
                frame(i),
                rows.join(", ")
            ));
        }
        self.file(
            name,
            format!("{{{head}, \"frames\": [{}]}}", frames.join(",\n")),
        );
    }

    /// Intrinsics as lists of transforms have them.
    pub(crate) fn intrinsics(&self) -> String {
        let c = &self.camera;
        let (kind, [k1, k2, a, b, d]) = c.lens.coefficients();
        let lens = match kind {
            0 => String::new(),
            1 => format!(
                r#", "camera_model": "OPENCV", "k1": {k1}, "k2": {k2}, "k3": {a}, "p1": {b}, "p2": {d}"#
            ),
            _ => format!(r#", "is_fisheye": true, "k1": {k1}, "k2": {k2}, "k3": {a}, "k4": {b}"#),
        };
        format!(
            r#""w": {}, "h": {}, "fl_x": {:?}, "fl_y": {:?}, "cx": {:?}, "cy": {:?}{lens}"#,
            c.width, c.height, c.fx, c.fy, c.cx, c.cy
        )
    }

    /// A table of poses and depths.
    pub(crate) fn llff(&self) {
        let c = &self.camera;
        let mut rows = Vec::new();
        for pose in &self.poses {
            let [right, up, back, at] = [0, 1, 2, 3].map(|axis| pose.axis(axis));
            let size = [c.height as f64, c.width as f64, c.fx];
            for i in 0..3 {
                rows.extend([-up[i], right[i], back[i], at[i], size[i]]);
            }
            rows.extend([3.0, 8.0]);
        }
        let shape = format!("({}, 17)", self.poses.len());
        self.file("poses_bounds.npy", npy("<f8", false, &shape, &rows));
    }
}

/// A file of NumPy with these numbers as f64.
pub(crate) fn npy(kind: &str, by_columns: bool, shape: &str, numbers: &[f64]) -> Vec<u8> {
    let order = if by_columns { "True" } else { "False" };
    let header = format!("{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    let numbers: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    [
        b"\x93NUMPY\x01\x00",
        &length[..],
        header.as_bytes(),
        &numbers,
    ]
    .concat()
}

/// The rotation as a quaternion (w, x, y, z) and the shift from the world to a camera that looks along +z, y down.
pub(crate) fn to_camera(pose: &Pose) -> ([f64; 4], [f64; 3]) {
    let [right, up, back, at] = [0, 1, 2, 3].map(|axis| pose.axis(axis));
    let r = [right, up.map(|x| -x), back.map(|x| -x)];
    let t = r.map(|row| -(row[0] * at[0] + row[1] * at[1] + row[2] * at[2]));
    let trace = r[0][0] + r[1][1] + r[2][2];
    let q = if trace > 0.0 {
        let s = 2.0 * (trace + 1.0).sqrt();
        [
            0.25 * s,
            (r[2][1] - r[1][2]) / s,
            (r[0][2] - r[2][0]) / s,
            (r[1][0] - r[0][1]) / s,
        ]
    } else {
        // Round the axis of the largest element.
        let i = (0..3).max_by(|&a, &b| r[a][a].total_cmp(&r[b][b])).unwrap();
        let (j, k) = ((i + 1) % 3, (i + 2) % 3);
        let s = 2.0 * (1.0 + r[i][i] - r[j][j] - r[k][k]).sqrt();
        let mut q = [(r[k][j] - r[j][k]) / s, 0.0, 0.0, 0.0];
        q[1 + i] = 0.25 * s;
        q[1 + j] = (r[j][i] + r[i][j]) / s;
        q[1 + k] = (r[k][i] + r[i][k]) / s;
        q
    };
    (q, t)
}
