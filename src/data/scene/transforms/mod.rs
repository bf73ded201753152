//! Scenes that are listed in JSON: Blender's `transforms_train.json` and its fellows, `transforms.json` of instant-ngp and nerfstudio. A camera, and
//! a pose and a picture's name a frame.
//!
//! ```
//! use std::path::Path;
//! use wgen::data::scene::transforms;
//!
//! let list = r#"{"fl_x": 500, "w": 640, "h": 480, "frames": [{"file_path": "images/0 a.jpg",
//!     "transform_matrix": [[1, 0, 0, 7], [0, 1, 0, 8], [0, 0, 1, 9], [0, 0, 0, 1]]}]}"#;
//! let frames = transforms::from_text(Path::new("transforms.json"), list)?;
//! assert_eq!((frames[0].0.as_str(), frames[0].1.position()), ("images/0 a.jpg", [7.0, 8.0, 9.0]));
//! # Ok::<(), wgen::Error>(())
//! ```

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::format::Format;
use super::listed::{Frame, Listed, Sight, Which};
use super::pose::Pose;
use super::world::World;
use crate::data::report::Used;
use crate::error::{Error, Result};

mod intrinsics;
mod parts;

pub(super) use intrinsics::Intrinsics;

/// The largest file that is read as a list: some hundred bytes a frame, and what is not known takes many times its size while it is read.
const MAX_BYTES: u64 = 32 << 20;

/// instant-ngp's factor from a list's world to its unit cube, where the list says none.
const NGP_SCALE: f64 = 0.33;

#[derive(Deserialize)]
struct Text {
    #[serde(flatten)]
    intrinsics: Intrinsics,
    frames: Vec<FrameText>,
    #[serde(flatten)]
    others: Others,
}

/// What Blender's lists have no meaning for.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Others {
    scale: Value,
    offset: Value,
    aabb_scale: Value,
    applied_transform: Value,
    train_filenames: Value,
    val_filenames: Value,
    test_filenames: Value,
}

#[derive(Deserialize)]
struct FrameText {
    file_path: String,
    transform_matrix: Vec<Vec<Option<f64>>>,
    mask_path: Option<String>,
    #[serde(flatten)]
    intrinsics: Intrinsics,
}

/// Names and poses of a list's frames, in its world, all checked as they are where a scene is read; `path` is for messages alone.
///
/// # Errors
/// When it is no list, a pose in it is no rigid motion, or its box is none.
pub fn from_text(path: &Path, text: &str) -> Result<Vec<(String, Pose)>> {
    let text = parse(path, text)?;
    // Numbers that are not those of a camera are found when pictures are: here it is asked for one of any size.
    for frame in &text.frames {
        frame
            .intrinsics
            .over(&text.intrinsics)
            .camera(path, 64, 64)
            .ok();
    }
    box_of(path, &text.others)?;
    frames(path, Path::new("/nowhere"), text)?
        .into_iter()
        .map(|frame| Ok((frame.name, frame.pose)))
        .collect()
}

/// The list of a part of a scene of Blender, and what part that is. The part to test on is `test`, else `val`; where there is neither, it is what is
/// trained on.
pub(super) fn blender(dir: &Path, which: Which) -> Result<Listed> {
    let file = |part: &str| dir.join(format!("transforms_{part}.json"));
    let held_out = ["test", "val"].into_iter().find(|p| file(p).is_file());
    let train = file("train");
    let (list, used) = match (which, held_out) {
        (Which::Test, Some(name)) => (file(name), Used::Part(name.to_owned())),
        (Which::Training, Some(_)) if train.is_file() => (train, Used::Training),
        _ => (train, Used::All),
    };
    if !list.is_file() {
        return Err(Error::format(
            dir,
            "has no transforms_train.json, the list of what a scene of Blender is trained on",
        ));
    }
    let mut frames = of_file(dir, &list)?;
    if let (Which::All, Some(name)) = (which, held_out) {
        frames.extend(of_file(dir, &file(name))?);
    }
    Ok(Listed {
        format: Format::Blender,
        list,
        frames,
        used,
        held_out: 0,
        world: World::default(),
        half_side: None,
        bounds: None,
        points: Vec::new(),
        notes: Vec::new(),
    })
}

fn of_file(dir: &Path, list: &Path) -> Result<Vec<Frame>> {
    frames(list, dir, parse(list, &text_of(list)?)?)
}

/// A part of the scene that one `transforms.json` lists.
pub(super) fn one_list(dir: &Path, which: Which) -> Result<Listed> {
    let list = dir.join("transforms.json");
    let mut text = parse(&list, &text_of(&list)?)?;
    let others = std::mem::take(&mut text.others);
    let (world, half_side) = box_of(&list, &others)?;
    let mut frames = frames(&list, dir, text)?;
    // By name, whatever order a program found its pictures in: which are held out goes by it.
    frames.sort_by(|a, b| a.name.cmp(&b.name));
    let mut notes = Vec::new();
    if !others.applied_transform.is_null() {
        notes.push(format!(
            "its poses were moved before they were written (applied_transform {}): ways and meshes are of the world behind that",
            others.applied_transform
        ));
    }
    let names = [
        &others.train_filenames,
        &others.val_filenames,
        &others.test_filenames,
    ];
    let (held, name) = parts::divide(&mut frames, names, which, &mut notes);
    let mut listed = Listed {
        format: Format::Transforms,
        list,
        frames,
        used: Used::All,
        held_out: 0,
        world,
        half_side,
        bounds: None,
        points: Vec::new(),
        notes,
    };
    match held {
        Some(held) => listed.part(which, &held, name),
        None => listed.every_eighth(which),
    }
    Ok(listed)
}

/// instant-ngp's box, which a file of one says by any of three keys: its middle becomes the origin, and half its side is suggested.
fn box_of(path: &Path, others: &Others) -> Result<(World, Option<f64>)> {
    let Others {
        scale,
        offset,
        aabb_scale,
        ..
    } = others;
    if scale.is_null() && offset.is_null() && aabb_scale.is_null() {
        return Ok((World::default(), None));
    }
    let positive = |name: &str, value: &Value, usual: f64| {
        let found = if value.is_null() {
            Some(usual)
        } else {
            value.as_f64()
        };
        found.filter(|x| *x > 1e-12 && *x < 1e12).ok_or_else(|| {
            Error::format(
                path,
                format!("{name} is {value}, which must be a number above 0"),
            )
        })
    };
    let scale = positive("scale", scale, NGP_SCALE)?;
    let times = positive("aabb_scale", aabb_scale, 1.0)?;
    let offset = match offset {
        Value::Null => Some([0.5; 3]),
        Value::Number(number) => number.as_f64().map(|x| [x; 3]),
        Value::Array(list) => match list.iter().map(Value::as_f64).collect::<Vec<_>>()[..] {
            [Some(x), Some(y), Some(z)] => Some([x, y, z]),
            _ => None,
        },
        _ => None,
    };
    let Some(offset) = offset.filter(|o| o.iter().all(|x| x.abs() < 1e12)) else {
        let why = format!("offset is {}, which must be three numbers", others.offset);
        return Err(Error::format(path, why));
    };
    let world = World {
        shift: offset.map(|x| (x - 0.5) / scale),
        ..World::default()
    };
    Ok((world, Some(0.5 / scale * times)))
}

/// The text of a file.
pub(super) fn text_of(path: &Path) -> Result<String> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io(path, e))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::format(
            path,
            format!("is larger than {MAX_BYTES} bytes, which no list of cameras is"),
        ));
    }
    String::from_utf8(bytes).map_err(|e| Error::format(path, format!("is no text: {e}")))
}

/// JSON, also with what Python writes where numbers are none: `NaN`, `Infinity`, which become `null`.
pub(super) fn json<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(text)
        .or_else(|error| serde_json::from_str(&without_nan(text)).map_err(|_| error))
        .map_err(|e| Error::format(path, format!("is no list of cameras: {e}")))
}

/// The text with `null` for the words that stand for no number, outside of strings.
fn without_nan(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut quoted = false;
    while let Some(c) = rest.chars().next() {
        let word = ["-Infinity", "Infinity", "NaN"]
            .into_iter()
            .find(|word| !quoted && rest.starts_with(word));
        let taken = match (word, c) {
            (Some(word), _) => {
                out.push_str("null");
                word.len()
            }
            (None, '\\') if quoted => {
                let two: String = rest.chars().take(2).collect();
                out.push_str(&two);
                two.len()
            }
            (None, c) => {
                quoted ^= c == '"';
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    out
}

fn parse(path: &Path, text: &str) -> Result<Text> {
    let text: Text = json(path, text)?;
    if text.frames.is_empty() {
        return Err(Error::format(path, "lists no frames"));
    }
    Ok(text)
}

/// The frames of a list whose pictures lie below `dir`. Poses are checked, and refused by the name of their frame.
fn frames(path: &Path, dir: &Path, text: Text) -> Result<Vec<Frame>> {
    let Text {
        intrinsics, frames, ..
    } = text;
    let one = |(i, frame): (usize, FrameText)| {
        let wrong =
            |why: String| Error::format(path, format!("frame {i} ({}): {why}", frame.file_path));
        let numbers = |row: &Vec<Option<f64>>| row.iter().map(|x| x.unwrap_or(f64::NAN)).collect();
        let rows: Vec<Vec<f64>> = frame.transform_matrix.iter().map(numbers).collect();
        let pose =
            Pose::from_rows(&rows).map_err(|why| wrong(format!("transform_matrix {why}")))?;
        let found = |name: &String| {
            find(dir, name).ok_or_else(|| wrong(format!("its mask_path {name} is not there")))
        };
        let picture = find(dir, &frame.file_path);
        let masks = frame.mask_path.as_ref();
        Ok(Frame {
            mask: masks.filter(|_| picture.is_some()).map(found).transpose()?,
            picture,
            pose,
            sight: Sight::Said(Box::new(frame.intrinsics.over(&intrinsics))),
            seen: Vec::new(),
            name: frame.file_path,
        })
    };
    frames.into_iter().enumerate().map(one).collect()
}

/// Endings that are tried behind a name without one.
const ENDINGS: [&str; 9] = [
    "png", "jpg", "jpeg", "webp", "bmp", "gif", "PNG", "JPG", "JPEG",
];

/// The file of a frame's name below `dir`: the name itself, or, since a dot in it is no ending, the name and one of [`ENDINGS`].
pub(super) fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let with = |name: &str, ending: &str| {
        let name = name.trim_start_matches("./");
        let path = if ending.is_empty() {
            dir.join(name)
        } else {
            dir.join(format!("{name}.{ending}"))
        };
        path.is_file().then_some(path)
    };
    // Windows' separator, which elsewhere may be part of a name.
    let names = [name.to_owned(), name.replace('\\', "/")];
    let is_picture = |path: &PathBuf| crate::data::images::has_ending(path);
    let named = names.iter().filter_map(|n| with(n, ""));
    let mut ended = names
        .iter()
        .flat_map(|n| ENDINGS.iter().filter_map(move |e| with(n, e)));
    let mut all = named.clone();
    all.find(is_picture)
        .or_else(|| ended.next())
        .or_else(|| named.clone().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_no_number_become_null_outside_of_strings() {
        let text = r#"{"a": NaN, "NaN \" NaN": [-Infinity, Infinity, 1e3], "b\\": NaN}"#;
        let expected = r#"{"a": null, "NaN \" NaN": [null, null, 1e3], "b\\": null}"#;
        assert_eq!(without_nan(text), expected);
    }

    #[test]
    fn a_camera_is_made_of_what_files_say_in_that_order() {
        let path = Path::new("t.json");
        let camera = |text: &str| {
            let intrinsics: Intrinsics = serde_json::from_str(text).unwrap();
            intrinsics.camera(path, 200, 100)
        };
        let blender = camera(r#"{"camera_angle_x": 0.6911112070083618}"#).unwrap();
        assert!((blender.fx - 277.777757798).abs() < 1e-9 && blender.fy == blender.fx);
        assert_eq!(
            (blender.cx, blender.cy, blender.pixel_offset),
            (100.0, 50.0, 0.5)
        );
        // Pictures of half the size that the file says.
        let half = camera(
            r#"{"fl_x": 300, "camera_angle_x": 1, "w": 400, "h": 200, "cx": 210.0, "fl_y": 310}"#,
        );
        let half = half.unwrap();
        assert_eq!(
            (half.fx, half.fy, half.cx, half.cy),
            (150.0, 155.0, 105.0, 50.0)
        );
        let degrees = camera(r#"{"x_fov": 90, "fl_x": 300}"#).unwrap();
        assert!((degrees.fx - 100.0).abs() < 1e-9);
        for (text, words) in [
            (r#"{"camera_angle_x": 0}"#, "camera_angle_x is 0"),
            (r#"{"camera_angle_x": 39.6}"#, "in radians"),
            (r#"{"camera_angle_x": -0.5}"#, "above 0"),
            (r#"{"x_fov": 171}"#, "171.0 degrees"),
            (r#"{"fl_x": 0}"#, "fl_x is 0"),
            (r#"{"fl_x": 8}"#, "field of view"),
            (r#"{"fl_y": -3}"#, "fl_y is -3"),
            (r#"{"camera_angle_x": null}"#, "no camera_angle_x"),
            (r#"{"fl_x": 300, "k4": 0.1}"#, "k4 is 0.1"),
            (r#"{"fl_x": 300, "is_fisheye": true, "p1": 1}"#, "fisheye"),
            (
                r#"{"fl_x": 300, "camera_model": "EQUIRECTANGULAR"}"#,
                "EQUIRECTANGULAR",
            ),
            (r#"{"fl_x": 300, "camera_model": 3}"#, "no name"),
            (r#"{"fl_x": 300, "w": 100, "h": 200}"#, "another shape"),
        ] {
            let message = camera(text).unwrap_err().to_string();
            assert!(message.contains(words), "{text}: {message}");
        }
        let plain = camera(r#"{"fl_x": 300, "k1": 0.0, "is_fisheye": false}"#).unwrap();
        assert!(plain.lens.is_pinhole());
        let bent =
            camera(r#"{"fl_x": 300, "k1": 0.1, "k2": 0.2, "k3": 0.3, "p1": 0.4, "p2": 0.5}"#);
        let coefficients = [0.1, 0.2, 0.3, 0.4, 0.5];
        assert_eq!(bent.unwrap().lens.coefficients(), (1, coefficients));
        let fisheye = r#"{"fl_x": 50, "camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k4": 0.2}"#;
        let fisheye = camera(fisheye).unwrap();
        assert_eq!(fisheye.lens.coefficients(), (2, [0.1, 0.0, 0.0, 0.2, 0.0]));
    }

    #[test]
    fn a_frame_says_what_its_file_says_otherwise() {
        let of = |text: &str| serde_json::from_str::<Intrinsics>(text).unwrap();
        let file = of(r#"{"camera_angle_x": 1, "w": 400, "h": 200, "cx": 190, "k1": 0.1}"#);
        let frame = of(r#"{"fl_x": 300, "k1": 0.2}"#).over(&file);
        let camera = frame.camera(Path::new("t.json"), 200, 100).unwrap();
        assert_eq!((camera.fx, camera.cx), (150.0, 95.0));
        assert_eq!(camera.lens.coefficients().1[0], 0.2);
        assert_eq!(of("{}").over(&file), file);
    }

    #[test]
    fn the_box_of_instant_ngp_is_round_our_origin() {
        let path = Path::new("t.json");
        let of = |text: &str| {
            let others: Others = serde_json::from_str(text).unwrap();
            box_of(path, &others).map_err(|e| e.to_string())
        };
        assert_eq!(of("{}").unwrap(), (World::default(), None));
        let (world, half) = of(r#"{"aabb_scale": 16}"#).unwrap();
        assert!(world.is_identity() && (half.unwrap() - 0.5 / 0.33 * 16.0).abs() < 1e-12);
        let (world, half) = of(r#"{"scale": 0.5, "offset": [0.5, 1.0, 0.0]}"#).unwrap();
        assert_eq!((world.scale, half), (1.0, Some(1.0)));
        // What lies at (0.5 - offset) / scale in the file.
        assert_eq!(world.point([0.0, -1.0, 1.0]), [0.0; 3]);
        for (text, words) in [
            (r#"{"scale": 0}"#, "scale is 0"),
            (r#"{"aabb_scale": "big"}"#, "aabb_scale is \"big\""),
            (r#"{"offset": [1, 2]}"#, "offset is [1,2]"),
        ] {
            let message = of(text).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn a_dot_is_no_ending_and_an_ending_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(dir.path().join(name), "x").unwrap();
        std::fs::create_dir_all(dir.path().join("a b")).unwrap();
        for name in [
            "a b/r_0.png",
            "a b/r 0.5.png",
            "a b/x.jpeg",
            "a b/bare",
            "a b/both",
            "a b/both.png",
        ] {
            write(name);
        }
        let found = |name: &str| {
            find(dir.path(), name).map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
        };
        assert_eq!(found("./a b/r_0").unwrap(), "r_0.png");
        assert_eq!(found("a b\\r_0").unwrap(), "r_0.png");
        assert_eq!(found(".\\a b\\r_0.png").unwrap(), "r_0.png");
        assert_eq!(found("a b/r 0.5").unwrap(), "r 0.5.png");
        assert_eq!(found("a b/x").unwrap(), "x.jpeg");
        assert_eq!(found("a b/bare").unwrap(), "bare");
        assert_eq!(found("a b/both").unwrap(), "both.png");
        assert_eq!(found("a b"), None);
        assert_eq!(found("a b/r_1"), None);
    }
}
