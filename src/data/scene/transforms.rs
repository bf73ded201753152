//! What Blender's scenes are listed in: `transforms_train.json` and its fellows. A field of view, and a pose and a picture's name a frame.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Camera;
use super::pose::Pose;
use crate::error::{Error, Result};

/// The largest file that is read as a list.
const MAX_BYTES: u64 = 256 << 20;

/// The widest field of view that is taken for a pinhole camera's, in degrees.
pub(super) const WIDEST: f64 = 170.0;

/// Frames and what they share.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) frames: Vec<Frame>,
    pub(super) intrinsics: Intrinsics,
}

/// A picture's name and where it was taken.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) name: String,
    pub(super) pose: Pose,
}

/// What a file says of its camera; pictures say how large they are. Numbers that are none are `null`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct Intrinsics {
    /// Degrees.
    x_fov: Option<f64>,
    y_fov: Option<f64>,
    /// Pixels of pictures of `w` x `h`.
    fl_x: Option<f64>,
    fl_y: Option<f64>,
    /// Radians.
    camera_angle_x: Option<f64>,
    camera_angle_y: Option<f64>,
    cx: Option<f64>,
    cy: Option<f64>,
    w: Option<f64>,
    h: Option<f64>,
    k1: Option<f64>,
    k2: Option<f64>,
    k3: Option<f64>,
    k4: Option<f64>,
    p1: Option<f64>,
    p2: Option<f64>,
    is_fisheye: Option<bool>,
}

#[derive(Deserialize)]
struct Text {
    #[serde(flatten)]
    intrinsics: Intrinsics,
    frames: Vec<FrameText>,
}

#[derive(Deserialize)]
struct FrameText {
    file_path: String,
    transform_matrix: Vec<Vec<Option<f64>>>,
    #[serde(flatten)]
    intrinsics: Intrinsics,
}

/// Reads a list. Poses are checked, and refused by the name of their frame.
pub(super) fn read(path: &Path) -> Result<Listed> {
    parse(path, &text_of(path)?)
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

fn parse(path: &Path, text: &str) -> Result<Listed> {
    let Text { intrinsics, frames } = json(path, text)?;
    if frames.is_empty() {
        return Err(Error::format(path, "lists no frames"));
    }
    let one = |(i, frame): (usize, FrameText)| {
        let wrong =
            |why: String| Error::format(path, format!("frame {i} ({}): {why}", frame.file_path));
        let numbers = |row: &Vec<Option<f64>>| row.iter().map(|x| x.unwrap_or(f64::NAN)).collect();
        let rows: Vec<Vec<f64>> = frame.transform_matrix.iter().map(numbers).collect();
        let pose =
            Pose::from_rows(&rows).map_err(|why| wrong(format!("transform_matrix {why}")))?;
        if frame.intrinsics != Intrinsics::default() && frame.intrinsics != intrinsics {
            return Err(wrong(
                "has a camera of its own; all frames of a scene must have one camera for now"
                    .to_owned(),
            ));
        }
        Ok(Frame {
            name: frame.file_path,
            pose,
        })
    };
    let frames = frames.into_iter().enumerate().map(one);
    Ok(Listed {
        frames: frames.collect::<Result<Vec<_>>>()?,
        intrinsics,
    })
}

impl Intrinsics {
    /// The camera of pictures of this size. Along an axis a field of view in degrees counts before a focal length, and that before an angle in
    /// radians; where one axis has none of them, pixels are square.
    pub(super) fn camera(&self, path: &Path, width: usize, height: usize) -> Result<Camera> {
        let wrong = |why: String| Error::format(path, why);
        let distorted = [self.k1, self.k2, self.k3, self.k4, self.p1, self.p2];
        let distorted = distorted.iter().flatten().any(|&k| k != 0.0);
        if distorted || self.is_fisheye == Some(true) {
            return Err(wrong(
                "its pictures have a lens' distortion (k1 .. k4, p1, p2, is_fisheye), which is not undone yet: undistort them first"
                    .to_owned(),
            ));
        }
        // Whoever makes pictures smaller leaves the list as it was.
        let scale = |size: usize, said: Option<f64>| match said {
            Some(said) if said.is_finite() && said > 0.0 => size as f64 / said,
            _ => 1.0,
        };
        let (by_x, by_y) = (scale(width, self.w), scale(height, self.h));
        if (by_x / by_y - 1.0).abs() > 0.02 {
            return Err(wrong(format!(
                "says that pictures are {} x {}, but they are {width} x {height}, of another shape",
                self.w.unwrap_or(width as f64),
                self.h.unwrap_or(height as f64)
            )));
        }
        let of_angle = |name: &str, angle: f64, size: usize| {
            if angle > 0.0 && angle.to_degrees() <= WIDEST {
                return Ok(0.5 * size as f64 / (0.5 * angle).tan());
            }
            let hint = if name.starts_with("camera_angle") && angle > 0.0 {
                "; it is in radians"
            } else {
                ""
            };
            Err(wrong(format!(
                "{name} is {angle}, a field of view of {:.1} degrees: it must be above 0 and at most {WIDEST}{hint}",
                angle.to_degrees()
            )))
        };
        let focal = |axis: &str,
                     degrees: Option<f64>,
                     pixels: Option<f64>,
                     radians: Option<f64>,
                     size: usize,
                     by: f64| {
            Ok(match (degrees, pixels, radians) {
                (Some(degrees), ..) => Some(of_angle(
                    &format!("{axis}_fov"),
                    degrees.to_radians(),
                    size,
                )?),
                (None, Some(pixels), _) if pixels.is_finite() && pixels > 0.0 => Some(pixels * by),
                (None, Some(pixels), _) => {
                    return Err(wrong(format!(
                        "fl_{axis} is {pixels}; a focal length must be above 0"
                    )));
                }
                (None, None, Some(angle)) => {
                    Some(of_angle(&format!("camera_angle_{axis}"), angle, size)?)
                }
                (None, None, None) => None,
            })
        };
        let fx = focal("x", self.x_fov, self.fl_x, self.camera_angle_x, width, by_x)?;
        let fy = focal(
            "y",
            self.y_fov,
            self.fl_y,
            self.camera_angle_y,
            height,
            by_y,
        )?;
        let Some((fx, fy)) = fx.or(fy).zip(fy.or(fx)) else {
            return Err(wrong(
                "says no camera_angle_x, fl_x or x_fov that is a number: how wide do the pictures look?"
                    .to_owned(),
            ));
        };
        let middle = Camera::centred(width, height, fx);
        let centre = |said: Option<f64>, by: f64, middle: f64| {
            said.filter(|c| c.is_finite()).map_or(middle, |c| c * by)
        };
        let camera = Camera {
            fy,
            cx: centre(self.cx, by_x, middle.cx),
            cy: centre(self.cy, by_y, middle.cy),
            ..middle
        };
        let [x, y] = camera.field_of_view();
        if x > WIDEST || y > WIDEST {
            return Err(wrong(format!(
                "focal lengths of {fx:.3} and {fy:.3} pixels make a field of view of {x:.1} x {y:.1} degrees; at most {WIDEST} are taken for a camera's"
            )));
        }
        Ok(camera)
    }
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
            (r#"{"fl_x": 300, "k1": 0.1}"#, "undistort"),
            (r#"{"fl_x": 300, "is_fisheye": true}"#, "undistort"),
            (r#"{"fl_x": 300, "w": 100, "h": 200}"#, "another shape"),
        ] {
            let message = camera(text).unwrap_err().to_string();
            assert!(message.contains(words), "{text}: {message}");
        }
        assert!(camera(r#"{"fl_x": 300, "k1": 0.0, "is_fisheye": false}"#).is_ok());
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
