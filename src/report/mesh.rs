//! Surfaces of triangles: their parts, area, volume and normals, and files of them that other programs read, PLY and OBJ.
//!
//! ```
//! use wgen::report::mesh::{Format, Mesh};
//!
//! // A tetrahedron, and a second one a quarter as large somewhere else.
//! let corners = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0_f32]];
//! let mut mesh = Mesh { positions: corners.to_vec(), ..Mesh::default() };
//! mesh.positions.extend(corners.map(|p| p.map(|x| 5.0 + 0.25 * x)));
//! let sides = [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3_u32]];
//! mesh.triangles = sides.into_iter().chain(sides.map(|t| t.map(|v| 4 + v))).collect();
//!
//! assert_eq!((mesh.open_edges(), mesh.euler()), (0, 4)); // closed; two for each part
//! let parts = mesh.components();
//! assert_eq!(parts.volumes.len(), 2);
//! let mut mesh = mesh.of_components(&parts.largest(1), &parts);
//! assert!((mesh.volume() - 1.0 / 6.0).abs() < 1e-9);
//!
//! mesh.normals = mesh.vertex_normals();
//! mesh.colours = vec![[200, 100, 0]; 4];
//! let file = Format::of("object.ply".as_ref())?.encode(&mesh)?;
//! assert!(file.starts_with(b"ply\nformat binary_little_endian 1.0\n"));
//! let file = String::from_utf8(Format::Obj.encode(&mesh)?).unwrap();
//! assert!(file.contains("\nv 1 0 0 0.784314 0.392157 0\n") && file.ends_with("\nf 2//2 3//3 4//4\n"));
//! # Ok::<(), wgen::Error>(())
//! ```

use std::fmt::Write;
use std::path::Path;

use crate::error::{Error, Result};

/// A surface of triangles.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mesh {
    /// Where its vertices are.
    pub positions: Vec<[f32; 3]>,
    /// Numbers of vertices, counterclockwise as seen from outside.
    pub triangles: Vec<[u32; 3]>,
    /// The direction outwards at each vertex, of length 1; empty where there is none.
    pub normals: Vec<[f32; 3]>,
    /// Red, green and blue of each vertex; empty where there is none.
    pub colours: Vec<[u8; 3]>,
}

/// The parts of a mesh that no edge joins.
#[derive(Clone, Debug, PartialEq)]
pub struct Components {
    /// Which part each vertex belongs to.
    pub of_vertex: Vec<u32>,
    /// The volume that each part encloses: below 0 where it looks inwards, as the wall of a cavity does.
    pub volumes: Vec<f64>,
}

impl Components {
    /// The numbers of the `count` parts of largest volume, the largest first. Walls of cavities are not among them: their volume is below 0.
    pub fn largest(&self, count: usize) -> Vec<u32> {
        let volume = |part: &u32| self.volumes[*part as usize];
        let all = 0..self.volumes.len() as u32;
        let mut parts: Vec<u32> = all.filter(|part| volume(part) >= 0.0).collect();
        parts.sort_by(|a, b| volume(b).total_cmp(&volume(a)));
        parts.truncate(count);
        parts
    }
}

fn minus(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [0, 1, 2].map(|i| a[i] - b[i])
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [0, 1, 2].map(|i| {
        let (j, k) = ((i + 1) % 3, (i + 2) % 3);
        a[j] * b[k] - a[k] * b[j]
    })
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|i| a[i] * b[i]).sum()
}

/// The first vertex of a vertex's tree, the way to it made shorter.
fn root(parents: &mut [u32], mut vertex: u32) -> u32 {
    while parents[vertex as usize] != vertex {
        let above = parents[parents[vertex as usize] as usize];
        parents[vertex as usize] = above;
        vertex = above;
    }
    vertex
}

impl Mesh {
    /// Refuses triangles of vertices that are not there, and normals or colours of other numbers than vertices.
    ///
    /// # Errors
    /// Saying which.
    pub fn check(&self) -> Result<()> {
        let count = self.positions.len();
        let missing = |t: &&[u32; 3]| t.iter().any(|&v| v as usize >= count);
        if let Some(triangle) = self.triangles.iter().find(missing) {
            let why = format!("triangle {triangle:?} of {count} vertices");
            return Err(Error::shape("mesh", why));
        }
        for (what, length) in [
            ("normals", self.normals.len()),
            ("colours", self.colours.len()),
        ] {
            if length != 0 && length != count {
                let why = format!("{length} {what} of {count} vertices");
                return Err(Error::shape("mesh", why));
            }
        }
        Ok(())
    }

    fn corners(&self, triangle: [u32; 3]) -> [[f64; 3]; 3] {
        triangle.map(|v| self.positions[v as usize].map(f64::from))
    }

    /// Twice a triangle's area, along its normal.
    fn twice_area(&self, triangle: [u32; 3]) -> [f64; 3] {
        let [a, b, c] = self.corners(triangle);
        cross(minus(b, a), minus(c, a))
    }

    /// Of all triangles, in the square of the positions' unit.
    pub fn area(&self) -> f64 {
        let twice = |t: &[u32; 3]| {
            let normal = self.twice_area(*t);
            dot(normal, normal).sqrt()
        };
        0.5 * self.triangles.iter().map(twice).sum::<f64>()
    }

    /// Six times the volume between a triangle and a place.
    fn six_volumes(&self, triangle: [u32; 3], from: [f64; 3]) -> f64 {
        let [a, b, c] = self.corners(triangle).map(|p| minus(p, from));
        dot(a, cross(b, c))
    }

    /// What a closed mesh encloses, in the cube of the positions' unit; below 0 where it is turned inside out.
    pub fn volume(&self) -> f64 {
        // From a place on it, so that a mesh far from the origin loses no digits.
        let from = self
            .positions
            .first()
            .map_or([0.0; 3], |p| p.map(f64::from));
        let all = self.triangles.iter().map(|t| self.six_volumes(*t, from));
        all.sum::<f64>() / 6.0
    }

    /// Edges that are not in exactly two triangles, once in each sense: 0 of a closed mesh whose triangles agree on what is outside.
    pub fn open_edges(&self) -> usize {
        let edges = self.edges();
        let runs = edges.chunk_by(|a, b| a.0 == b.0);
        let whole = |run: &&[([u32; 2], bool)]| run.len() == 2 && run[0].1 != run[1].1;
        runs.filter(|run| !whole(run)).count()
    }

    /// Vertices less edges plus triangles: 2 for each part of a closed mesh, less 2 for each handle that it has.
    pub fn euler(&self) -> i64 {
        let edges = self.edges();
        let edges = edges.chunk_by(|a, b| a.0 == b.0).count();
        self.positions.len() as i64 - edges as i64 + self.triangles.len() as i64
    }

    /// The sides of all triangles, in order, and whether each goes from the lower vertex to the higher.
    fn edges(&self) -> Vec<([u32; 2], bool)> {
        let sides = self
            .triangles
            .iter()
            .flat_map(|&[a, b, c]| [[a, b], [b, c], [c, a]]);
        let mut edges: Vec<_> = sides.map(|[a, b]| ([a.min(b), a.max(b)], a < b)).collect();
        edges.sort_unstable();
        edges
    }

    /// Its parts, in the order of their first vertices.
    pub fn components(&self) -> Components {
        let mut parents: Vec<u32> = (0..self.positions.len() as u32).collect();
        for &[a, b, c] in &self.triangles {
            for other in [b, c] {
                let (x, y) = (root(&mut parents, a), root(&mut parents, other));
                parents[x.max(y) as usize] = x.min(y);
            }
        }
        let mut of_vertex: Vec<u32> = Vec::with_capacity(parents.len());
        let mut first = Vec::new();
        for vertex in 0..parents.len() as u32 {
            let root = root(&mut parents, vertex);
            of_vertex.push(match of_vertex.get(root as usize) {
                Some(&part) => part,
                None => {
                    first.push(self.positions[vertex as usize].map(f64::from));
                    first.len() as u32 - 1
                }
            });
        }
        let mut volumes = vec![0.0; first.len()];
        for &triangle in &self.triangles {
            let part = of_vertex[triangle[0] as usize] as usize;
            volumes[part] += self.six_volumes(triangle, first[part]) / 6.0;
        }
        Components { of_vertex, volumes }
    }

    /// The parts of these numbers alone: vertices and triangles in the order that they had.
    #[must_use]
    pub fn of_components(&self, kept: &[u32], components: &Components) -> Self {
        let mut is_kept = vec![false; components.volumes.len()];
        for &part in kept {
            is_kept[part as usize] = true;
        }
        let has = |v: u32| is_kept[components.of_vertex[v as usize] as usize];
        let mut number = Vec::with_capacity(self.positions.len());
        let mut next = 0;
        for vertex in 0..self.positions.len() as u32 {
            number.push(next);
            next += u32::from(has(vertex));
        }
        fn of<T: Copy>(values: &[T], has: impl Fn(u32) -> bool) -> Vec<T> {
            let all = (0..).zip(values);
            all.filter(|(v, _)| has(*v)).map(|(_, x)| *x).collect()
        }
        let triangles = self.triangles.iter().filter(|t| has(t[0]));
        Self {
            positions: of(&self.positions, has),
            triangles: triangles.map(|t| t.map(|v| number[v as usize])).collect(),
            normals: of(&self.normals, has),
            colours: of(&self.colours, has),
        }
    }

    /// The direction outwards at each vertex: the mean of its triangles', weighted by their areas. Upwards where these leave none.
    pub fn vertex_normals(&self) -> Vec<[f32; 3]> {
        let mut sums = vec![[0.0_f64; 3]; self.positions.len()];
        for &triangle in &self.triangles {
            let normal = self.twice_area(triangle);
            for vertex in triangle {
                for (sum, n) in sums[vertex as usize].iter_mut().zip(normal) {
                    *sum += n;
                }
            }
        }
        let unit = |sum: [f64; 3]| {
            // Areas of small triangles have small squares.
            let most = sum.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            if most == 0.0 {
                return [0.0, 0.0, 1.0];
            }
            let scaled = sum.map(|x| x / most);
            let length = dot(scaled, scaled).sqrt();
            scaled.map(|x| (x / length) as f32)
        };
        sums.into_iter().map(unit).collect()
    }

    /// As a PLY file, binary and little endian: x, y, z, the normal's nx, ny, nz and red, green, blue (bytes) of each vertex, as far as there are any,
    /// and the triangles' vertex_indices.
    fn ply(&self) -> Vec<u8> {
        let mut header = format!(
            "ply\nformat binary_little_endian 1.0\ncomment wgen\nelement vertex {}\n",
            self.positions.len()
        );
        let properties = [
            (true, "float", ["x", "y", "z"]),
            (!self.normals.is_empty(), "float", ["nx", "ny", "nz"]),
            (!self.colours.is_empty(), "uchar", ["red", "green", "blue"]),
        ];
        for (_, kind, names) in properties.iter().filter(|(has, ..)| *has) {
            header.extend(names.map(|name| format!("property {kind} {name}\n")));
        }
        header += &format!(
            "element face {}\nproperty list uchar uint vertex_indices\nend_header\n",
            self.triangles.len()
        );
        let mut bytes = header.into_bytes();
        bytes.reserve(27 * self.positions.len() + 13 * self.triangles.len());
        for (i, position) in self.positions.iter().enumerate() {
            let normal = self.normals.get(i).into_iter().flatten();
            for x in position.iter().chain(normal) {
                bytes.extend(x.to_le_bytes());
            }
            bytes.extend(self.colours.get(i).into_iter().flatten());
        }
        for triangle in &self.triangles {
            bytes.push(3);
            bytes.extend(triangle.iter().flat_map(|v| v.to_le_bytes()));
        }
        bytes
    }

    /// As an OBJ file. Colours follow the coordinates of a vertex, as many programs write and read them.
    fn obj(&self) -> String {
        let mut text = String::from("# wgen\n");
        // Writing to a string does not fail.
        for (i, [x, y, z]) in self.positions.iter().enumerate() {
            let _ = write!(text, "v {x} {y} {z}");
            for &byte in self.colours.get(i).into_iter().flatten() {
                let share = (f64::from(byte) / 255.0 * 1e6).round() / 1e6;
                let _ = write!(text, " {share}");
            }
            text.push('\n');
        }
        for [x, y, z] in &self.normals {
            let _ = writeln!(text, "vn {x} {y} {z}");
        }
        for triangle in &self.triangles {
            text.push('f');
            for v in triangle.map(|v| u64::from(v) + 1) {
                let _ = match self.normals.is_empty() {
                    true => write!(text, " {v}"),
                    false => write!(text, " {v}//{v}"),
                };
            }
            text.push('\n');
        }
        text
    }
}

/// A format that meshes are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// PLY, binary.
    Ply,
    /// Wavefront's OBJ.
    Obj,
}

impl Format {
    /// The format that a file's name asks for by its ending; PLY where it has none.
    ///
    /// # Errors
    /// When the ending is of no format that meshes are written in.
    pub fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().unwrap_or_default();
        match ending.to_ascii_lowercase().to_str() {
            Some("" | "ply") => Ok(Self::Ply),
            Some("obj") => Ok(Self::Obj),
            _ => Err(Error::format(
                path,
                format!(
                    "meshes are not written as .{}; there is .obj, .ply, and PLY where a name has no ending",
                    ending.display()
                ),
            )),
        }
    }

    /// A mesh as a file's bytes.
    ///
    /// # Errors
    /// As [`Mesh::check`].
    pub fn encode(self, mesh: &Mesh) -> Result<Vec<u8>> {
        mesh.check()?;
        Ok(match self {
            Self::Ply => mesh.ply(),
            Self::Obj => mesh.obj().into_bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cube of side 2 round a place; `sense` false turns it inside out.
    fn cube(middle: [f32; 3], half: f32, outwards: bool) -> Mesh {
        let corner =
            |c: u32| [0, 1, 2].map(|i| middle[i] + half * (2.0 * (c >> i & 1) as f32 - 1.0));
        let quads = [
            [0, 2, 3, 1],
            [4, 5, 7, 6],
            [0, 1, 5, 4],
            [2, 6, 7, 3],
            [0, 4, 6, 2],
            [1, 3, 7, 5],
        ];
        let triangles = quads
            .iter()
            .flat_map(|&[a, b, c, d]| [[a, b, c], [a, c, d]]);
        let turned = |[a, b, c]: [u32; 3]| if outwards { [a, b, c] } else { [a, c, b] };
        Mesh {
            positions: (0..8).map(corner).collect(),
            triangles: triangles.map(turned).collect(),
            ..Mesh::default()
        }
    }

    fn joined(meshes: &[Mesh]) -> Mesh {
        let mut all = Mesh::default();
        for mesh in meshes {
            let first = all.positions.len() as u32;
            all.positions.extend(&mesh.positions);
            let moved = mesh.triangles.iter().map(|t| t.map(|v| v + first));
            all.triangles.extend(moved);
        }
        all
    }

    #[test]
    fn area_volume_and_euler_of_cubes() {
        let one = cube([3.0, -1.0, 1e3], 0.5, true);
        assert!((one.area() - 6.0).abs() < 1e-9 && (one.volume() - 1.0).abs() < 1e-9);
        assert_eq!((one.open_edges(), one.euler()), (0, 2));
        assert!((cube([0.0; 3], 0.5, false).volume() + 1.0).abs() < 1e-9);
        // Without a triangle three edges are in one only; with one turned the three disagree.
        let mut open = one.clone();
        open.triangles.pop();
        assert_eq!(open.open_edges(), 3);
        let mut turned = one;
        turned.triangles[4].swap(0, 1);
        assert_eq!(turned.open_edges(), 3);
    }

    #[test]
    fn parts_are_found_and_cavities_are_not_the_largest() {
        let mut all = joined(&[
            cube([9.0, 0.0, 0.0], 0.5, true),
            cube([0.0; 3], 2.0, true),
            cube([0.0; 3], 1.5, false),
            cube([0.0, 7.0, 0.0], 1.0, true),
        ]);
        all.colours = (0..32).map(|i| [i as u8, 0, 0]).collect();
        let parts = all.components();
        let expected = [1.0, 64.0, -27.0, 8.0];
        for (found, expected) in parts.volumes.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{:?}", parts.volumes);
        }
        assert_eq!(parts.largest(2), [1, 3]);
        assert_eq!(parts.largest(9), [1, 3, 0]);
        let two = all.of_components(&parts.largest(2), &parts);
        two.check().unwrap();
        assert_eq!(
            (two.open_edges(), two.euler(), two.triangles.len()),
            (0, 4, 24)
        );
        assert!((two.volume() - 72.0).abs() < 1e-6);
        let colours: Vec<u8> = two.colours.iter().map(|c| c[0]).collect();
        assert_eq!(colours, (8..16).chain(24..32).collect::<Vec<u8>>());
        assert_eq!(all.of_components(&[], &parts), Mesh::default());
    }

    #[test]
    fn normals_look_outwards_and_have_length_one() {
        let small = cube([0.0; 3], 1e-20, true);
        for (normal, position) in small.vertex_normals().iter().zip(&small.positions) {
            let length: f32 = normal.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-6);
            assert!(normal.iter().zip(position).all(|(n, p)| n * p > 0.0));
        }
        let flat = Mesh {
            positions: vec![[1.0; 3]; 3],
            triangles: vec![[0, 1, 2]],
            ..Mesh::default()
        };
        assert_eq!(flat.vertex_normals(), [[0.0, 0.0, 1.0]; 3]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let said = |mesh: &Mesh| Format::Ply.encode(mesh).unwrap_err().to_string();
        let mut mesh = cube([0.0; 3], 1.0, true);
        mesh.normals = vec![[0.0; 3]; 7];
        assert!(said(&mesh).contains("7 normals of 8 vertices"));
        mesh.normals.clear();
        mesh.triangles.push([0, 1, 8]);
        assert!(said(&mesh).contains("[0, 1, 8] of 8 vertices"));
        let message = Format::of("a.stl".as_ref()).unwrap_err().to_string();
        assert!(message.contains(".stl") && message.contains(".ply") && message.contains(".obj"));
        assert_eq!(Format::of("x/y.OBJ".as_ref()).unwrap(), Format::Obj);
        assert_eq!(Format::of("y".as_ref()).unwrap(), Format::Ply);
    }
}
