//! Writes the program's own landscape as photographs are found: JPEG files of a camera with a lens, and lists of where they were taken.
//!
//!     cargo run --release --example draw_scene -- FOLDER [VIEWS] [HELD_OUT]
//!
//! FOLDER then has `images/`, transforms_train.json and transforms_test.json, and `wgen train ngp --data scene:FOLDER --cascades 4` learns it.

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use serde_json::json;
use wgen::data::scene::{Lens, Pose, landscape};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(folder) = arguments.first().map(Path::new) else {
        return Err("which folder?".into());
    };
    let count = |at: usize, usual: usize| arguments.get(at).map_or(Ok(usual), |n| n.parse());
    let (views, held_out) = (count(1, 100)?, count(2, 12)?);
    std::fs::create_dir_all(folder.join("images"))?;
    write(folder, "train", &landscape::poses(views, 1))?;
    write(folder, "test", &landscape::poses(held_out, 2))?;
    println!(
        "{views} views and {held_out} held-out ones of 160 x 120 in {}",
        folder.display()
    );
    Ok(())
}

/// The pictures of a part and their list.
fn write(folder: &Path, part: &str, poses: &[Pose]) -> Result<(), Box<dyn Error>> {
    let camera = landscape::camera();
    let mut frames = Vec::new();
    for (i, pose) in poses.iter().enumerate() {
        let name = format!("images/{part} {i:03}.jpg");
        let file = BufWriter::new(File::create(folder.join(&name))?);
        let (width, height) = (camera.width as u32, camera.height as u32);
        let picture = landscape::picture(&camera, pose);
        JpegEncoder::new_with_quality(file, 95).write_image(
            &picture,
            width,
            height,
            ExtendedColorType::Rgb8,
        )?;
        let rows: Vec<&[f64]> = pose.0.chunks(4).collect();
        frames.push(json!({"file_path": name, "transform_matrix": [rows[0], rows[1], rows[2], [0.0, 0.0, 0.0, 1.0]]}));
    }
    let Lens::Opencv { k1, k2, p1, p2, k3 } = camera.lens else {
        return Err("the landscape's camera has another lens".into());
    };
    let list = json!({
        "w": camera.width, "h": camera.height, "fl_x": camera.fx, "fl_y": camera.fy, "cx": camera.cx, "cy": camera.cy,
        "camera_model": "OPENCV", "k1": k1, "k2": k2, "p1": p1, "p2": p2, "k3": k3, "frames": frames,
    });
    let path = folder.join(format!("transforms_{part}.json"));
    std::fs::write(path, serde_json::to_string_pretty(&list)?)?;
    Ok(())
}
