//! Scenes as COLMAP, instant-ngp, nerfstudio and LLFF write them: the same cameras from each.

mod common;

use std::fs;

use common::rays::rows;
use common::scenes::Scene;
use wgen::data::idx::Part;
use wgen::data::images::Options;
use wgen::data::report::Used;
use wgen::data::scene::{Camera, Format, Lens, Pose, Views, colmap};
use wgen::data::{Loaded, Spec};

fn read(scene: &Scene, part: Part, options: &Options) -> Loaded {
    let spec = Spec::Scene(scene.dir().to_owned());
    spec.read(part, options).unwrap()
}

fn all(scene: &Scene) -> Loaded {
    read(scene, Part::Training, &Options::default())
}

fn views(read: &Loaded) -> &Views {
    read.data.views.as_ref().unwrap()
}

fn near(a: &[f64], b: &[f64], within: f64) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= within)
}

/// A camera with something of everything.
fn bent(lens: Lens) -> Camera {
    Camera {
        fy: 41.0,
        cx: 30.5,
        cy: 25.25,
        lens,
        ..Camera::centred(64, 48, 40.0)
    }
}

const BROWN: Lens = Lens::Opencv {
    k1: -0.12,
    k2: 0.03,
    p1: 1e-3,
    p2: -2e-3,
    k3: 0.004,
};
const FISHEYE: Lens = Lens::Fisheye {
    k1: 0.04,
    k2: -0.01,
    k3: 0.002,
    k4: -0.0003,
};

#[test]
fn a_model_of_colmap_is_the_same_in_text_and_in_binary() {
    for lens in [Lens::Pinhole, BROWN, FISHEYE] {
        let scene = Scene::new(9, bent(lens));
        scene.colmap_text("text");
        scene.colmap_binary("binary");
        let [text, binary] =
            ["text", "binary"].map(|f| colmap::read(&scene.dir().join(f), true).unwrap());
        assert_eq!(text.cameras, binary.cameras);
        assert_eq!(text.points, binary.points);
        assert_eq!(text.cameras[&7], scene.camera);
        assert_eq!((text.images.len(), text.points.len()), (9, 60));
        for (i, (a, b)) in text.images.iter().zip(&binary.images).enumerate() {
            assert_eq!((&a.name, &a.seen), (&b.name, &b.seen));
            assert_eq!((a.name.as_str(), a.camera), (scene.names[i].as_str(), 7));
            assert!(near(&a.pose.0, &scene.poses[i].0, 1e-6));
            assert!(near(&b.pose.0, &scene.poses[i].0, 1e-6));
            // Each point is seen where the camera sees it.
            assert!(a.seen.len() > 50 && a.pose.check().is_ok());
            for (at, number) in &a.seen {
                let point = text.points.iter().find(|p| p.number == *number).unwrap();
                let d: Vec<f64> = (0..3).map(|k| point.at[k] - a.pose.position()[k]).collect();
                let local = [0, 1, 2].map(|k| (0..3).map(|j| a.pose.axis(k)[j] * d[j]).sum());
                let place = scene.camera.place(local).unwrap();
                assert!(near(&place, at, 0.01), "{place:?} {at:?}");
            }
        }
        // Without its points, the rest is the same.
        let without = colmap::read(&scene.dir().join("binary"), false).unwrap();
        assert!(without.points.is_empty() && without.images.iter().all(|i| i.seen.is_empty()));
        assert_eq!(without.images[3].pose, binary.images[3].pose);
    }
}

/// Origin and direction of rays in the world of a scene's own files.
fn rays(views: &Views, i: usize) -> Vec<f64> {
    let back = views.world.inverse();
    let (pose, camera): (Pose, Camera) = (back.pose(&views.poses[i]), views.cameras[i]);
    let places = [(0.5, 0.5), (31.5, 0.5), (16.0, 12.0), (3.5, 20.5)];
    let of = |(x, y)| {
        let d = pose.rotated(camera.direction(x, y));
        pose.position().into_iter().chain(d)
    };
    places.into_iter().flat_map(of).collect()
}

#[test]
fn one_scene_has_the_same_rays_in_all_formats() {
    type Write = fn(&Scene);
    let write: [(Format, Write); 6] = [
        (Format::Blender, |s| {
            let angle = 2.0 * (0.5_f64).atan();
            let head = format!(r#""camera_angle_x": {angle:?}"#);
            s.transforms("transforms_train.json", &head, |_| String::new());
        }),
        (Format::Transforms, |s| {
            s.transforms("transforms.json", &s.intrinsics(), |_| String::new());
        }),
        (Format::Transforms, |s| {
            // instant-ngp's box, and intrinsics a frame each.
            let head = r#""aabb_scale": 4, "scale": 0.25, "offset": [0.4, 0.5, 0.7]"#;
            s.transforms("transforms.json", head, |_| s.intrinsics() + ",");
        }),
        (Format::Colmap, |s| s.colmap_text("sparse/0")),
        (Format::Colmap, |s| s.colmap_binary("colmap/sparse/0")),
        (Format::Llff, Scene::llff),
    ];
    for (format, write) in write {
        let scene = Scene::usual(6);
        scene.pictures("images");
        write(&scene);
        for scale in [None, Some(2.5)] {
            let options = Options {
                scene_scale: scale,
                ..Options::default()
            };
            let read = read(&scene, Part::Training, &options);
            assert_eq!(read.report.posed.as_ref().unwrap().format, Some(format));
            assert_eq!(read.report.used, Used::All);
            let views = views(&read);
            assert_eq!(views.poses.len(), 6);
            for i in 0..6 {
                assert!(views.names[i].ends_with(&scene.names[i]));
                assert!(views.poses[i].check().is_ok());
                let truth = Views {
                    cameras: vec![scene.camera; 6],
                    poses: scene.poses.clone(),
                    names: scene.names.clone(),
                    transparent: 0,
                    world: Default::default(),
                };
                let (ours, exact) = (rays(views, i), rays(&truth, i));
                assert!(near(&ours, &exact, 1e-5), "{format}: {ours:?} {exact:?}");
            }
        }
    }
}

#[test]
fn each_format_has_its_own_world() {
    let scene = Scene::usual(6);
    scene.pictures("images");
    scene.transforms("transforms.json", &scene.intrinsics(), |_| String::new());
    assert!(views(&all(&scene)).world.is_identity());
    let ngp = format!(
        r#"{}, "aabb_scale": 4, "scale": 0.25, "offset": [0.4, 0.5, 0.7]"#,
        scene.intrinsics()
    );
    scene.transforms("transforms.json", &ngp, |_| String::new());
    let read_ngp = all(&scene);
    let (world, posed) = (views(&read_ngp).world, read_ngp.report.posed.unwrap());
    assert!(near(&world.point([0.4, 0.0, -0.8]), &[0.0; 3], 1e-12));
    assert_eq!((world.scale, posed.half_side), (1.0, Some(8.0)));
    let twice = Options {
        scene_scale: Some(2.0),
        ..Options::default()
    };
    let posed = read(&scene, Part::Training, &twice).report.posed.unwrap();
    assert_eq!((posed.world.scale, posed.half_side), (2.0, Some(16.0)));
    fs::remove_file(scene.path("transforms.json")).unwrap();

    // nerf-pytorch's: the nearest depth is 4 / 3, the mean of the cameras at the origin.
    scene.llff();
    let read_llff = all(&scene);
    let (world, posed) = (
        views(&read_llff).world,
        read_llff.report.posed.clone().unwrap(),
    );
    assert!((world.scale - 1.0 / (0.75 * 3.0)).abs() < 1e-12);
    assert!(near(
        &posed.bounds.unwrap(),
        &[4.0 / 3.0, 32.0 / 9.0],
        1e-12
    ));
    let mean: Vec<f64> = (0..3)
        .map(|k| {
            views(&read_llff)
                .poses
                .iter()
                .map(|p| p.position()[k])
                .sum()
        })
        .collect();
    assert!(near(&mean, &[0.0; 3], 1e-9), "{mean:?}");
    fs::remove_file(scene.path("poses_bounds.npy")).unwrap();

    // COLMAP's, which has none: what cameras look at is the origin, they are 4 away, and up is up.
    scene.colmap_binary("sparse");
    let read_colmap = all(&scene);
    let world = views(&read_colmap).world;
    assert!(near(&world.point(common::scenes::MIDDLE), &[0.0; 3], 1e-6));
    assert!(
        views(&read_colmap)
            .poses
            .iter()
            .all(|p| (p.distance() - 4.0).abs() < 1e-6)
    );
    assert!(world.direction([0.0, 0.0, 1.0])[2] > 0.9);
}

#[test]
fn what_is_not_there_in_a_model_is_passed_over_and_the_largest_model_is_taken() {
    let scene = Scene::usual(7);
    scene.pictures("images");
    scene.colmap_text("sparse/0");
    fs::remove_file(scene.path("images/a view 03.png")).unwrap();
    let read_most = all(&scene);
    let posed = read_most.report.posed.as_ref().unwrap();
    assert_eq!((posed.views, posed.listed, posed.missing), (6, 7, 1));
    assert_eq!(posed.missing_names, ["a view 03.png"]);
    assert_eq!(views(&read_most).names[3], "a view 04.png");
    assert!(near(
        &views(&read_most)
            .world
            .inverse()
            .pose(&views(&read_most).poses[3])
            .0,
        &scene.poses[4].0,
        1e-6
    ));
    // A smaller model beside it.
    let few = Scene::usual(2);
    few.colmap_text("sparse/0");
    for name in ["cameras.txt", "images.txt"] {
        let small = fs::read(few.path(&format!("sparse/0/{name}"))).unwrap();
        let large = fs::read(scene.path(&format!("sparse/0/{name}"))).unwrap();
        scene.file(&format!("sparse/0/{name}"), small);
        scene.file(&format!("sparse/1/{name}"), large);
    }
    let read_again = all(&scene);
    assert_eq!(views(&read_again).poses.len(), 6);
    let notes = read_again.report.posed.unwrap().notes.join("\n");
    assert!(
        notes.contains("2 models") && notes.contains("sparse/1"),
        "{notes}"
    );
    // The smaller one damaged.
    scene.file("sparse/0/images.txt", "1 1 0 0");
    let once_more = all(&scene);
    assert_eq!(views(&once_more).poses.len(), 6);
    let notes = once_more.report.posed.unwrap().notes.join("\n");
    assert!(
        notes.contains("a model is passed over") && notes.contains("sparse/0"),
        "{notes}"
    );
    // The folder of the model alone: its pictures lie in images above.
    let inner = Spec::Scene(scene.path("sparse/1/x").parent().unwrap().to_owned());
    let inner = inner.read(Part::Training, &Options::default()).unwrap();
    assert_eq!(views(&inner).poses.len(), 6);
}

#[test]
fn of_several_formats_one_is_taken_and_another_can_be_asked_for() {
    let scene = Scene::usual(4);
    scene.pictures("images");
    scene.llff();
    scene.colmap_binary("sparse/0");
    let usual = all(&scene).report;
    let posed = usual.posed.unwrap();
    assert_eq!(posed.format, Some(Format::Llff));
    assert!(
        posed.notes[0].contains("also be read as colmap"),
        "{:?}",
        posed.notes
    );
    let options = Options {
        scene_format: Some(Format::Colmap),
        ..Options::default()
    };
    let other = read(&scene, Part::Training, &options).report;
    let posed = other.posed.unwrap();
    assert_eq!((posed.format, posed.notes.len()), (Some(Format::Colmap), 0));
    assert_ne!(usual.folder, other.folder);
    let options = Options {
        scene_format: Some(Format::Transforms),
        ..Options::default()
    };
    let spec = Spec::Scene(scene.dir().to_owned());
    let message = spec.read(Part::Training, &options).unwrap_err().to_string();
    assert!(
        message.contains("scene_format transforms") && message.contains("llff, colmap"),
        "{message}"
    );
}

#[test]
fn every_eighth_view_is_held_out_where_files_do_not_say() {
    let parts = |scene: &Scene| {
        [Part::Training, Part::Test].map(|part| {
            let read = read(scene, part, &Options::default());
            (views(&read).names.clone(), read.report)
        })
    };
    let scene = Scene::usual(17);
    scene.pictures("images");
    scene.colmap_text("sparse/0");
    let [(training, report), (test, test_report)] = parts(&scene);
    assert_eq!(test, ["a view 00.png", "a view 08.png", "a view 16.png"]);
    assert!(training.len() == 14 && !training.contains(&test[1]));
    assert_eq!(report.used, Used::Training);
    assert_eq!(report.posed.unwrap().held_out, 3);
    assert_eq!(test_report.used, Used::Part("every 8th view".to_owned()));
    assert!(test_report.used.is_held_out() && report.folder == test_report.folder);
    // Both parts are in one world.
    let worlds = [Part::Training, Part::Test]
        .map(|part| views(&read(&scene, part, &Options::default())).world);
    assert_eq!(worlds[0], worlds[1]);
    fs::remove_dir_all(scene.path("sparse/0/x").parent().unwrap()).unwrap();
    // What nerfstudio's lists say counts.
    let lists = |key: &str| format!(r#"{}, {key}: ["images/a view 03.png"]"#, scene.intrinsics());
    scene.transforms("transforms.json", &lists(r#""val_filenames""#), |_| {
        String::new()
    });
    let [(training, _), (test, report)] = parts(&scene);
    assert_eq!(
        (training.len(), test),
        (16, vec!["images/a view 03.png".to_owned()])
    );
    assert_eq!(report.used, Used::Part("val_filenames".to_owned()));
    scene.transforms("transforms.json", &lists(r#""train_filenames""#), |_| {
        String::new()
    });
    let [(training, _), (test, _)] = parts(&scene);
    assert_eq!((training.len(), test.len()), (1, 16));
    // What is in neither is neither learned nor judged.
    let both = format!(
        r#"{}, "train_filenames": ["images/a view 03.png", "images/a view 04.png"], "test_filenames": ["images/a view 07.png"]"#,
        scene.intrinsics()
    );
    scene.transforms("transforms.json", &both, |_| String::new());
    let [(training, report), (test, _)] = parts(&scene);
    assert_eq!(training, ["images/a view 03.png", "images/a view 04.png"]);
    assert_eq!(test, ["images/a view 07.png"]);
    let notes = report.posed.unwrap().notes.join("\n");
    assert!(notes.contains("14 of its 17 pictures"), "{notes}");
    // A list of held-out views alone is no scene of Blender's where there is another list.
    scene.transforms("transforms_test.json", &scene.intrinsics(), |_| {
        String::new()
    });
    let [(training, _), _] = parts(&scene);
    assert_eq!(training.len(), 2);
}

#[test]
fn lenses_are_undone_on_rays_and_pictures_stay() {
    for lens in [BROWN, FISHEYE] {
        for write in [
            (|s: &Scene| s.colmap_binary("sparse/0")) as fn(&Scene),
            |s| s.transforms("transforms.json", &s.intrinsics(), |_| String::new()),
        ] {
            let scene = Scene::new(5, bent(lens));
            scene.pictures("images");
            write(&scene);
            let read = all(&scene);
            let views = views(&read);
            assert_eq!(rows(&read.data).len(), 5 * 64 * 48);
            assert_eq!(views.cameras[0], scene.camera);
            let posed = read.report.posed.as_ref().unwrap();
            assert_eq!((posed.lenses[0], posed.left_out), (5, 0));
            // A ray through where a point is seen passes the point.
            for (at, point) in scene.seen(2) {
                let pose = &views.poses[2];
                let d = pose.rotated(views.cameras[2].direction(at[0], at[1]));
                let to = views.world.point(scene.points[point]);
                let to: Vec<f64> = (0..3).map(|k| to[k] - pose.position()[k]).collect();
                let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
                let (a, b) = (length(&d), length(&to));
                assert!(
                    (0..3).all(|k| (d[k] / a - to[k] / b).abs() < 1e-6),
                    "{lens:?}"
                );
            }
        }
    }
}
