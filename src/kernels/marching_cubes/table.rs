//! Which triangles lie in a cube, by which of its corners are inside: derived, not copied.
//!
//! On each face of a cube the surface is one or two segments from edge to edge. Where two corners that are diagonal to each other are inside and
//! the other two are not, either pair may be joined; here those inside are always kept apart. That depends on the face's own corners alone, so that
//! the two cubes on both sides of a face draw the same segments: there are no holes, which the table of 1987 has. The segments of all faces close to loops,
//! which are cut into triangles by chords, none of which lies in a face: there the cube beyond might draw it, too.
//!
//! ```
//! use wgen::kernels::marching_cubes::table::triangles;
//!
//! // Two corners across the cube from each other are cut off by a triangle each, between the three edges that meet there.
//! let mut cut = triangles(0b1000_0001);
//! cut.iter_mut().for_each(|triangle| triangle.sort());
//! cut.sort();
//! // An edge is the lower of its corners, and 8 times its axis.
//! assert_eq!(cut, [[0, 8, 16], [6, 5 + 8, 3 + 16]]);
//! assert!(triangles(0).is_empty() && triangles(255).is_empty());
//! ```

use std::sync::LazyLock;

/// Words for each set of corners inside.
pub const WORDS: usize = 3;

/// Triangle `i` of set `s` of corners inside (bit x + 2 y + 4 z) is 15 bits of word `WORDS s + i / 2`, from bit `i % 2 * 15` on: three edges of 5 bits
/// each, an edge being corner + 8 axis, from that corner along that axis. How many there are, at most 5, is from bit 16 on of the last word.
pub static TABLE: LazyLock<Vec<u32>> = LazyLock::new(|| (0..256).flat_map(words).collect());

/// Three edges, corner + 8 axis each.
pub type Triangle = [u8; 3];

/// The edge between two neighbouring corners.
fn edge(a: u8, b: u8) -> u8 {
    a.min(b) + 8 * (a ^ b).trailing_zeros() as u8
}

/// The corners of each face, counterclockwise as seen from outside.
fn faces() -> [[u8; 4]; 6] {
    std::array::from_fn(|face| {
        let (axis, far) = (face / 2, face % 2);
        let [u, v] = [1, 2].map(|i| 1 << ((axis + i) % 3));
        let first = (far << axis) as u8;
        match far {
            0 => [first, first | v, first | u | v, first | u],
            _ => [first, first | u, first | u | v, first | v],
        }
    })
}

/// The segments of all faces, each from edge to edge, so turned that the loops they make go counterclockwise round the surface as seen from where
/// nothing is inside: on a face, seen from outside of the cube, the inside is on a segment's right.
fn segments(corners: u8) -> Vec<(u8, u8)> {
    let mut segments = Vec::new();
    for face in faces() {
        let inside = |i: usize| corners >> face[i % 4] & 1 == 1;
        let on = |i: usize| edge(face[i % 4], face[(i + 1) % 4]);
        for entered in (0..4).filter(|&i| !inside(i) && inside(i + 1)) {
            // From where the way round the face comes out of the inside again.
            let left = (entered + 1..entered + 4).find(|&i| inside(i) && !inside(i + 1));
            segments.extend(left.map(|left| (on(entered), on(left))));
        }
    }
    segments
}

/// The loops that the segments close to.
fn loops(corners: u8) -> Vec<Vec<u8>> {
    let mut segments = segments(corners);
    segments.sort_unstable();
    let mut loops = Vec::new();
    while !segments.is_empty() {
        let (first, mut at) = segments.remove(0);
        let mut way = vec![first];
        while at != first
            && let Some(next) = segments.iter().position(|(from, _)| *from == at)
        {
            way.push(at);
            at = segments.remove(next).1;
        }
        loops.push(way);
    }
    loops
}

/// Whether two edges are of one face.
fn share_a_face(a: u8, b: u8) -> bool {
    let has = |face: &[u8; 4], e: u8| (0..4).any(|i| edge(face[i], face[(i + 1) % 4]) == e);
    faces().iter().any(|face| has(face, a) && has(face, b))
}

/// Triangles between the vertices `first` to `last` of a loop, the chord between these two given, by chords that lie in no face.
fn cut(way: &[u8], first: usize, last: usize) -> Option<Vec<Triangle>> {
    if last - first < 2 {
        return Some(Vec::new());
    }
    let lies_within = |a: usize, b: usize| b - a < 2 || !share_a_face(way[a], way[b]);
    (first + 1..last).find_map(|middle| {
        if !lies_within(first, middle) || !lies_within(middle, last) {
            return None;
        }
        let mut triangles = cut(way, first, middle)?;
        triangles.extend(cut(way, middle, last)?);
        triangles.push([way[first], way[middle], way[last]]);
        Some(triangles)
    })
}

/// The triangles of a cube, counterclockwise as seen from outside of what is inside.
pub fn triangles(corners: u8) -> Vec<Triangle> {
    // Every loop of every set can be cut: a test says so.
    let cut = |way: Vec<u8>| cut(&way, 0, way.len() - 1).unwrap_or_default();
    loops(corners).into_iter().flat_map(cut).collect()
}

fn words(corners: u32) -> [u32; WORDS] {
    let triangles = triangles(corners as u8);
    let mut words = [0, 0, (triangles.len() as u32) << 16];
    for (i, edges) in triangles.iter().enumerate() {
        for (k, &edge) in edges.iter().enumerate() {
            words[i / 2] |= u32::from(edge) << (i % 2 * 15 + 5 * k);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Directed sides of a set's triangles, but for those that two of them share.
    fn rim(corners: u8) -> Vec<(u8, u8)> {
        let mut sides: BTreeMap<(u8, u8), i32> = BTreeMap::new();
        for [a, b, c] in triangles(corners) {
            for (from, to) in [(a, b), (b, c), (c, a)] {
                *sides.entry((from.min(to), from.max(to))).or_default() +=
                    if from < to { 1 } else { -1 };
                // No triangle has a vertex twice.
                assert_ne!(from, to);
            }
        }
        let open = sides.into_iter().filter(|(_, n)| *n != 0);
        open.map(|((a, b), n)| match n {
            1 => (a, b),
            -1 => (b, a),
            _ => panic!("{corners:08b}: side {a} {b} {n} times in one sense"),
        })
        .collect()
    }

    /// The vertices are those of the edges that are crossed, each used; every loop is cut; a cube has at most five triangles.
    #[test]
    fn each_set_of_corners_has_all_of_its_vertices_and_at_most_five_triangles() {
        let mut most = 0;
        for corners in 0..=255_u8 {
            let crossed = (0..3_u8).flat_map(|axis| {
                let low = (0..8_u8).filter(move |c| c >> axis & 1 == 0);
                let inside = move |c: u8| corners >> c & 1;
                low.filter(move |&c| inside(c) != inside(c | 1 << axis))
                    .map(move |c| c + 8 * axis)
            });
            let mut crossed: Vec<u8> = crossed.collect();
            crossed.sort_unstable();
            let triangles = triangles(corners);
            let mut used: Vec<u8> = triangles.iter().flatten().copied().collect();
            used.sort_unstable();
            used.dedup();
            assert_eq!(used, crossed, "{corners:08b}");
            let ways = loops(corners);
            let cut: usize = ways.iter().map(|way| way.len() - 2).sum();
            assert_eq!(triangles.len(), cut, "{corners:08b}");
            most = most.max(triangles.len());
        }
        assert_eq!(most, 5);
        assert_eq!(TABLE.len(), 256 * WORDS);
    }

    /// Of any two cubes that share a face, whatever their corners, one's sides in it are the other's reversed: no hole, no side used four times, one
    /// sense of turning.
    #[test]
    fn any_two_cubes_agree_on_the_face_that_they_share() {
        let rims: Vec<Vec<(u8, u8)>> = (0..=255).map(rim).collect();
        let all_faces = faces();
        let in_face = |face: &[u8; 4], e: u8| (0..4).any(|i| edge(face[i], face[(i + 1) % 4]) == e);
        let mut pairs = 0;
        for (f, face) in all_faces.iter().enumerate() {
            let axis = f / 2;
            let beyond = &all_faces[f ^ 1];
            // The same edge, seen from the cube beyond.
            let moved = |e: u8| e ^ 1 << axis;
            let of = |corners: u8, face: &[u8; 4]| -> Vec<(u8, u8)> {
                let sides = rims[usize::from(corners)].iter().copied();
                sides
                    .filter(|&(a, b)| in_face(face, a) && in_face(face, b))
                    .collect()
            };
            for here in 0..=255_u8 {
                let own = of(here, face);
                for there in 0..=255_u8 {
                    let fits = face
                        .iter()
                        .all(|&c| here >> c & 1 == there >> (c ^ 1 << axis) & 1);
                    if !fits {
                        continue;
                    }
                    let mut others: Vec<(u8, u8)> = of(there, beyond)
                        .into_iter()
                        .map(|(a, b)| (moved(b), moved(a)))
                        .collect();
                    let mut own = own.clone();
                    own.sort_unstable();
                    others.sort_unstable();
                    assert_eq!(own, others, "{here:08b} {there:08b} across face {f}");
                    pairs += 1;
                }
            }
        }
        assert_eq!(pairs, 6 * 256 * 16);
    }

    /// A side that two triangles of one cube share lies in no face, so that no other cube has it.
    #[test]
    fn no_chord_lies_in_a_face() {
        for corners in 0..=255_u8 {
            let rim = rim(corners);
            for [a, b, c] in triangles(corners) {
                for (from, to) in [(a, b), (b, c), (c, a)] {
                    assert_eq!(share_a_face(from, to), rim.contains(&(from, to)));
                }
            }
        }
    }

    /// A single corner's triangle looks away from it, and so does that of all but one.
    #[test]
    fn triangles_look_to_where_less_is() {
        let middle = |e: u8| -> [f64; 3] {
            let (corner, axis) = (e & 7, usize::from(e >> 3));
            std::array::from_fn(|i| f64::from(corner >> i & 1) + if i == axis { 0.5 } else { 0.0 })
        };
        for corner in 0..8_u8 {
            for (corners, sense) in [(1 << corner, 1.0), (!(1 << corner), -1.0)] {
                let [triangle] = triangles(corners)[..] else {
                    panic!("{corners:08b}");
                };
                let [a, b, c] = triangle.map(middle);
                let minus = |x: [f64; 3], y: [f64; 3]| [0, 1, 2].map(|i| x[i] - y[i]);
                let (u, v) = (minus(b, a), minus(c, a));
                let normal = [0, 1, 2].map(|i| {
                    let (j, k) = ((i + 1) % 3, (i + 2) % 3);
                    u[j] * v[k] - u[k] * v[j]
                });
                let place = std::array::from_fn(|i| f64::from(corner >> i & 1));
                let away = minus(a, place);
                let outward: f64 = (0..3).map(|i| normal[i] * away[i]).sum();
                assert!(outward * sense > 0.0, "{corners:08b}");
            }
        }
    }
}
