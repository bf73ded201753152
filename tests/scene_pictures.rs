//! The pictures of scenes as people have them: made smaller, turned, masked, of several cameras.

mod common;

use std::fs;

use common::calls::{done, refused};
use common::rays::rows;
use common::scenes::Scene;
use image::{GrayImage, Luma, Rgba, RgbaImage};
use wgen::data::idx::Part;
use wgen::data::images::Options;
use wgen::data::scene::{self, Camera, Lens};
use wgen::data::{Loaded, Spec};

fn read(scene: &Scene, options: &Options) -> wgen::Result<Loaded> {
    Spec::Scene(scene.dir().to_owned()).read(Part::Training, options)
}

fn all(scene: &Scene) -> Loaded {
    read(scene, &Options::default()).unwrap()
}

fn cameras(read: &Loaded) -> Vec<Camera> {
    read.data.views.as_ref().unwrap().cameras.clone()
}

fn resize(scene: &Scene, view: usize, width: u32, height: u32) {
    let path = scene.path(&format!("images/{}", scene.names[view]));
    GrayImage::from_pixel(width, height, Luma([9]))
        .save(path)
        .unwrap();
}

#[test]
fn intrinsics_are_those_of_the_pictures_that_files_speak_of() {
    let camera = Camera {
        fy: 33.0,
        cx: 15.0,
        cy: 13.0,
        ..Camera::centred(32, 24, 34.0)
    };
    for write in [(|s: &Scene| s.colmap_text("sparse/0")) as fn(&Scene), |s| {
        s.transforms("transforms.json", &s.intrinsics(), |_| String::new());
    }] {
        let scene = Scene::new(4, camera);
        scene.pictures("images");
        // Half as large, and three quarters.
        resize(&scene, 1, 16, 12);
        resize(&scene, 2, 24, 18);
        write(&scene);
        let read = all(&scene);
        let of = |c: &Camera| [c.width as f64, c.height as f64, c.fx, c.fy, c.cx, c.cy];
        let found: Vec<[f64; 6]> = cameras(&read).iter().map(of).collect();
        assert_eq!(found[0], [32.0, 24.0, 34.0, 33.0, 15.0, 13.0]);
        assert_eq!(found[1], [16.0, 12.0, 17.0, 16.5, 7.5, 6.5]);
        assert_eq!(found[2], [24.0, 18.0, 25.5, 24.75, 11.25, 9.75]);
        // Rows are numbered view after view, whatever their sizes.
        let rows = rows(&read.data);
        assert_eq!(rows.len(), 2 * 32 * 24 + 16 * 12 + 24 * 18);
        assert_eq!(rows[32 * 24], ([9, 9, 9, 255], 32 * 24));
        let (picture, shape) = scene::picture(&read.data, 3, [0; 3]).unwrap();
        assert_eq!((shape.width, shape.height), (32, 24));
        assert!(picture.iter().all(|x| (x - 4.0 / 255.0).abs() < 1e-6));
        // Another shape is refused, by name.
        resize(&scene, 2, 24, 24);
        let message = error_of(&scene);
        for words in ["a view 02.png", "32 x 24", "24 x 24", "another shape"] {
            assert!(message.contains(words), "{message}");
        }
    }
}

/// A side or a focal length that a list does not say goes with the other.
#[test]
fn what_is_said_of_one_side_counts_for_both() {
    let scene = Scene::usual(2);
    scene.pictures("images");
    (0..2).for_each(|view| resize(&scene, view, 16, 12));
    let found = |head: &str| {
        scene.transforms("transforms.json", head, |_| String::new());
        let camera = cameras(&all(&scene))[0];
        [camera.fx, camera.fy, camera.cx, camera.cy]
    };
    assert_eq!(
        found(r#""w": 32, "fl_x": 30, "cy": 10"#),
        [15.0, 15.0, 8.0, 5.0]
    );
    assert_eq!(
        found(r#""h": 24, "fl_y": 30, "cx": 17"#),
        [15.0, 15.0, 8.5, 6.0]
    );
    // 65 x 48 made a quarter as large has 16 x 12 whole pixels, each 65/64 as wide as high.
    let [fx, fy, ..] = found(r#""w": 65, "h": 48, "fl_x": 65"#);
    assert_eq!((fx, fy), (16.0, 16.25));
}

fn error_of(scene: &Scene) -> String {
    read(scene, &Options::default()).unwrap_err().to_string()
}

#[test]
fn frames_may_have_cameras_of_their_own() {
    let scene = Scene::usual(3);
    scene.pictures("images");
    resize(&scene, 1, 20, 40);
    scene.transforms("transforms.json", &scene.intrinsics(), |i| match i {
        1 => r#""w": 20, "h": 40, "fl_x": 50, "fl_y": 51, "cx": 10, "cy": 19, "k1": 0.05,"#.into(),
        _ => String::new(),
    });
    let read = all(&scene);
    let cameras = cameras(&read);
    assert_eq!(
        (cameras[1].width, cameras[1].fy, cameras[1].cy),
        (20, 51.0, 19.0)
    );
    assert!(!cameras[1].lens.is_pinhole() && cameras[0] == cameras[2]);
    let views = read.data.views.as_ref().unwrap();
    assert!(views.cameras().common.is_none() && views.cameras().pixels == read.data.rows() as u64);
    let said = done(&["data", &format!("scene:{}", scene.dir().display())]);
    for words in [
        "2 cameras: focal lengths 32.000 to 50.000 pixels",
        "from 20 to 32 wide and 24 to 40 high",
        "lenses of 1 view are undone",
    ] {
        assert!(said.contains(words), "'{words}' is not in {said}");
    }
}

/// A PNG with a tag of its camera: 1 upright, 6 to be turned clockwise.
fn tagged(picture: &RgbaImage, orientation: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    let bytes = bytes.into_inner();
    let exif = [
        &b"eXIfII*\0\x08\0\0\0\x01\0"[..],
        &[0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0],
        &[0; 4],
    ]
    .concat();
    let mut crc = flate2::Crc::new();
    crc.update(&exif);
    let length = (exif.len() as u32 - 4).to_be_bytes();
    // Behind the header, which is 8 + 25 bytes.
    [
        &bytes[..33],
        &length,
        &exif,
        &crc.sum().to_be_bytes(),
        &bytes[33..],
    ]
    .concat()
}

#[test]
fn pictures_are_turned_or_not_as_files_say_that_they_lie() {
    let scene = Scene::usual(3);
    scene.pictures("images");
    // Stored on its side: 24 x 32, 32 x 24 when it is turned; the corner at the top left is red.
    let mut lying = RgbaImage::from_pixel(24, 32, Rgba([8, 8, 8, 255]));
    lying.put_pixel(0, 0, Rgba([255, 0, 0, 255]));
    let standing = image::imageops::rotate90(&lying);
    scene.file("images/a view 00.png", tagged(&lying, 6));
    // Stored as it is said, though a tag says to turn it.
    let mut right = RgbaImage::from_pixel(32, 24, Rgba([8, 8, 8, 255]));
    right.put_pixel(0, 0, Rgba([0, 255, 0, 255]));
    scene.file("images/a view 01.png", tagged(&right, 6));
    scene.colmap_text("sparse/0");
    let read = all(&scene);
    let posed = read.report.posed.as_ref().unwrap();
    assert_eq!((posed.turned, posed.not_turned), (1, 1));
    let rows = rows(&read.data);
    let picture = |view: usize| {
        let some = &rows[view * 768..(view + 1) * 768];
        some.iter().flat_map(|r| r.0).collect::<Vec<u8>>()
    };
    assert_eq!(picture(0), standing.into_raw());
    assert_eq!(picture(1), right.into_raw());
    // One that fits neither way.
    let square = RgbaImage::from_pixel(24, 24, Rgba([8; 4]));
    scene.file("images/a view 02.png", tagged(&square, 6));
    let message = error_of(&scene);
    assert!(
        message.contains("as it is stored and as it is turned"),
        "{message}"
    );
}

#[test]
fn masked_pixels_are_no_rays() {
    // The left half is black.
    let mask = GrayImage::from_fn(32, 24, |x, _| Luma([if x < 16 { 0 } else { 200 }]));
    let of_model = Scene::usual(3);
    of_model.pictures("images");
    of_model.colmap_text("sparse/0");
    mask.save(of_model.path("masks/a view 01.png.png")).unwrap();
    let listed = Scene::usual(3);
    listed.pictures("images");
    // Of half the size: the nearest of its pixels says.
    let half = image::imageops::resize(&mask, 16, 12, image::imageops::FilterType::Nearest);
    half.save(listed.path("masks/m.png")).unwrap();
    listed.transforms("transforms.json", &listed.intrinsics(), |i| match i {
        1 => r#""mask_path": "masks/m.png","#.into(),
        _ => String::new(),
    });
    for scene in [&of_model, &listed] {
        let read = all(scene);
        let rows = rows(&read.data);
        assert_eq!(rows.len(), 2 * 768 + 384);
        let numbers: Vec<u32> = rows.iter().map(|r| r.1).collect();
        assert!(
            numbers
                .iter()
                .all(|n| !(768..1536).contains(n) || n % 32 >= 16)
        );
        assert_eq!(numbers[768 + 384], 1536);
        let posed = read.report.posed.as_ref().unwrap();
        assert_eq!((posed.masks, posed.left_out), (1, 384));
        let seen = scene::seen(&read.data, 1).unwrap();
        assert!(
            seen.iter()
                .enumerate()
                .all(|(i, seen)| *seen == (i % 32 >= 16))
        );
        assert!(scene::seen(&read.data, 0).unwrap().iter().all(|seen| *seen));
        // Of a smaller picture's pixel all of its square counts.
        let smaller = Options {
            scene_downscale: Some(3),
            ..Options::default()
        };
        let read = self::read(scene, &smaller).unwrap();
        assert_eq!(read.data.rows(), 2 * 10 * 8 + 4 * 8);
    }
    // Of another shape; of everything; not there.
    GrayImage::new(32, 32)
        .save(listed.path("masks/m.png"))
        .unwrap();
    assert!(error_of(&listed).contains("is a mask of 32 x 32"));
    fs::remove_file(listed.path("masks/m.png")).unwrap();
    assert!(error_of(&listed).contains("mask_path masks/m.png is not there"));
    for name in &of_model.names {
        GrayImage::new(32, 24)
            .save(of_model.path(&format!("masks/{name}.png")))
            .unwrap();
    }
    assert!(error_of(&of_model).contains("leave nothing"));
}

#[test]
fn smaller_pictures_have_smaller_cameras() {
    let camera = Camera {
        cx: 15.0,
        ..Camera::centred(32, 24, 34.0)
    };
    let scene = Scene::new(3, camera);
    scene.pictures("images");
    let picture = RgbaImage::from_fn(32, 24, |x, y| {
        Rgba([x as u8, y as u8, 100, if x % 2 == 0 { 255 } else { 0 }])
    });
    picture.save(scene.path("images/a view 00.png")).unwrap();
    scene.colmap_binary("sparse/0");
    let smaller = |n: u32| Options {
        scene_downscale: Some(n),
        ..Options::default()
    };
    let read_whole = all(&scene);
    let small = read(&scene, &smaller(2)).unwrap();
    let found = cameras(&small)[0];
    assert_eq!(
        (found.width, found.height, found.fx, found.cx),
        (16, 12, 17.0, 7.5)
    );
    assert_eq!(small.report.posed.as_ref().unwrap().smaller, 2);
    // What is transparent has no say in the colour.
    assert_eq!(rows(&small.data)[0].0, [0, 1, 100, 128]);
    assert_eq!(rows(&small.data)[17].0, [2, 3, 100, 128]);
    // The same rays, seen coarser.
    let whole = cameras(&read_whole)[0];
    let (a, b) = (whole.direction(9.0, 5.0), found.direction(4.5, 2.5));
    assert!((0..3).all(|i| (a[i] - b[i]).abs() < 1e-12));
    // 32 = 6 * 5 + 2: what fills no square is left out.
    let fifth = cameras(&read(&scene, &smaller(5)).unwrap())[0];
    assert_eq!((fifth.width, fifth.height, fifth.fx), (6, 4, 34.0 / 5.0));
    for (n, words) in [
        (0, "must be from 1 to 64"),
        (65, "must be from"),
        (25, "nothing would be left"),
    ] {
        let message = read(&scene, &smaller(n)).unwrap_err().to_string();
        assert!(
            message.contains("scene_downscale") && message.contains(words),
            "{message}"
        );
    }
    let spec = format!("scene:{}", scene.dir().display());
    let said = done(&["data", &spec, "--downscale", "2", "--scene-scale", "0.5"]);
    for words in [
        "3 pictures of 16 x 12",
        "2 times smaller",
        "2.000 to 2.000 from the origin",
    ] {
        assert!(said.contains(words), "'{words}' is not in {said}");
    }
    refused(&["data", &spec, "--downscale", "0"], &["--downscale 0"]);
    refused(&["data", &spec, "--scene-scale", "0"], &["--scene-scale 0"]);
    refused(
        &["data", &spec, "--scene-format", "ply"],
        &["--scene-format 'ply'", "colmap"],
    );
    refused(
        &["data", "digits", "--downscale", "2"],
        &["--downscale", "scene:DIR"],
    );
    refused(&["data", &spec, "--size", "8"], &["--size", "leave it out"]);
}

#[test]
fn what_a_lens_does_not_reach_is_no_ray() {
    let with = |k1: f64| Camera {
        lens: Lens::Opencv {
            k1,
            k2: 0.0,
            p1: 0.0,
            p2: 0.0,
            k3: 0.0,
        },
        ..Camera::centred(64, 48, 40.0)
    };
    // r (1 - 0.4 r^2) is at most 0.609; corners are 1 away.
    let scene = Scene::new(3, with(-0.4));
    scene.pictures("images");
    scene.transforms("transforms.json", &scene.intrinsics(), |_| String::new());
    let read = all(&scene);
    let posed = read.report.posed.as_ref().unwrap();
    let share = posed.left_out as f64 / (3.0 * 64.0 * 48.0);
    assert!(share > 0.2 && share < 0.5, "{share}");
    assert!(
        posed.notes[0].contains("cannot be undone everywhere"),
        "{:?}",
        posed.notes
    );
    let seen = scene::seen(&read.data, 0).unwrap();
    assert!(!seen[0] && seen[24 * 64 + 32] && seen[24 * 64 + 50]);
    // For most of the picture: no camera's.
    let scene = Scene::new(3, with(-3.0));
    scene.pictures("images");
    scene.transforms("transforms.json", &scene.intrinsics(), |_| String::new());
    let message = error_of(&scene);
    assert!(message.contains("cannot be undone for"), "{message}");
}
