//! What people name as a command's output: no plain files, endings, full disks, one file twice, what it reads.

#![cfg(unix)]

mod common;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use common::place::{PNG, Place, stderr};

#[test]
fn pipes_devices_and_sockets_are_written_to_and_stay() {
    let place = Place::new();
    let fifo = place.path("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let reader = {
        let fifo = fifo.clone();
        std::thread::spawn(move || fs::read(fifo).unwrap())
    };
    place.sample("pipe");
    assert!(reader.join().unwrap().starts_with(PNG));
    assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());

    let listener = std::os::unix::net::UnixListener::bind(place.path("socket")).unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        listener
            .accept()
            .unwrap()
            .0
            .read_to_end(&mut bytes)
            .unwrap();
        bytes
    });
    place.sample("socket");
    assert!(reader.join().unwrap().starts_with(PNG));

    // Not /dev/null itself: were it replaced, the machine would suffer.
    symlink("/dev/null", place.path("nothing")).unwrap();
    place.sample("nothing");
    assert!(place.path("nothing").is_symlink());
    symlink("/dev/full", place.path("full")).unwrap();
    let out = place.run(&["sample", "run", "--n", "4", "--out", "full"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("No space left"), "{}", stderr(&out));

    // An open file of the process is added to.
    let shell = format!(
        "{{ echo before; {} -q --device cpu sample run --n 4 --out /dev/fd/3 3>&1; echo after; }} > all",
        env!("CARGO_BIN_EXE_wgen")
    );
    let mut command = Command::new("sh");
    command.args(["-c", &shell]).current_dir(place.0.path());
    assert!(command.status().unwrap().success());
    let all = place.read("all");
    assert!(all.starts_with(&[b"before\n", PNG].concat()) && all.ends_with(b"after\n"));
    assert_eq!(place.unfinished(), Vec::<String>::new());
}

#[test]
fn links_stay_and_what_they_lead_to_is_written() {
    let place = Place::new();
    fs::create_dir(place.path("far")).unwrap();
    fs::write(place.path("far/there.png"), "old").unwrap();
    symlink("far/there.png", place.path("link.png")).unwrap();
    symlink("link.png", place.path("link-to-link.png")).unwrap();
    symlink("far/not-yet.png", place.path("dangling.png")).unwrap();
    for (link, target) in [
        ("link-to-link.png", "far/there.png"),
        ("dangling.png", "far/not-yet.png"),
    ] {
        place.sample(link);
        assert!(place.path(link).is_symlink() && !place.path(target).is_symlink());
        assert!(place.read(target).starts_with(PNG), "{link}");
    }
    symlink("circle", place.path("circle")).unwrap();
    place.refused(
        &["sample", "run", "--n", "4", "--out", "circle"],
        &["circle: is a link that leads to itself"],
    );
    symlink("nowhere/x.png", place.path("far-dangling.png")).unwrap();
    place.refused(
        &["sample", "run", "--n", "4", "--out", "far-dangling.png"],
        &["its folder", "nowhere does not exist"],
    );
    // A name that was not given keeps what it had: a copy made of hard links is a copy.
    fs::write(place.path("one.png"), "old").unwrap();
    fs::hard_link(place.path("one.png"), place.path("other.png")).unwrap();
    place.sample("one.png");
    assert!(place.read("one.png").starts_with(PNG));
    assert_eq!(place.read("other.png"), b"old");
    // A run whose weights are a link.
    fs::rename(
        place.path("run/model.safetensors"),
        place.path("far/weights.safetensors"),
    )
    .unwrap();
    symlink(
        "../far/weights.safetensors",
        place.path("run/model.safetensors"),
    )
    .unwrap();
    let before = place.read("far/weights.safetensors");
    place.done(&[
        "train",
        "vae",
        "--data",
        "toy:moons:100",
        "--out",
        "run",
        "--resume",
        "--steps",
        "9",
    ]);
    assert!(place.path("run/model.safetensors").is_symlink());
    assert_ne!(place.read("far/weights.safetensors"), before);
}

#[test]
fn permissions_are_the_files_own_or_the_umasks() {
    let place = Place::new();
    let mode = |name: &str| fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o7777;
    for (name, bits) in [
        ("private.png", 0o600),
        ("shared.png", 0o664),
        ("x.png", 0o755),
    ] {
        fs::write(place.path(name), "").unwrap();
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(bits)).unwrap();
        place.sample(name);
        assert_eq!(mode(name), bits, "{name}");
        assert!(place.read(name).starts_with(PNG));
    }
    for (mask, bits) in [("022", 0o644), ("077", 0o600), ("002", 0o664)] {
        let shell = format!(
            "umask {mask}; {} --device cpu sample run --n 4 --out new-{mask}.png",
            env!("CARGO_BIN_EXE_wgen")
        );
        let mut command = Command::new("sh");
        command.args(["-c", &shell]).current_dir(place.0.path());
        assert!(command.output().unwrap().status.success());
        assert_eq!(mode(&format!("new-{mask}.png")), bits);
    }
}

/// What root may do says nothing of permissions: the command runs as somebody else.
#[test]
#[cfg(target_os = "linux")]
fn a_writable_file_is_written_where_its_folder_is_not_and_no_other() {
    let place = Place::new();
    let root = fs::metadata(place.path("run")).unwrap().uid() == 0;
    let copy = place.path("wgen");
    if root {
        fs::copy(env!("CARGO_BIN_EXE_wgen"), &copy).unwrap();
        fs::set_permissions(place.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let sample = |out: &str| {
        let mut command = if root {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
            command.arg(&copy);
            command
        } else {
            Command::new(env!("CARGO_BIN_EXE_wgen"))
        };
        command.args(["--device", "cpu", "sample", "run", "--n", "4", "--out", out]);
        command.current_dir(place.0.path()).output().unwrap()
    };
    let make = |name: &str, mode: u32| {
        fs::write(place.path(name), vec![0; 1 << 16]).unwrap();
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir(place.path("shut")).unwrap();
    make("shut/mine.png", 0o666);
    fs::create_dir(place.path("open")).unwrap();
    make("open/theirs.png", 0o444);
    fs::set_permissions(place.path("shut"), fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(place.path("open"), fs::Permissions::from_mode(0o777)).unwrap();
    let written = sample("shut/mine.png");
    assert!(written.status.success(), "{}", stderr(&written));
    let picture = image::open(place.path("shut/mine.png")).unwrap();
    assert_eq!(picture.width(), 384);
    assert!(
        place.read("shut/mine.png").len() < 1 << 16,
        "the old end is there"
    );
    for out in ["shut/new.png", "open/theirs.png"] {
        let refused = sample(out);
        assert_eq!(refused.status.code(), Some(2), "{out}");
        assert!(stderr(&refused).contains("Permission denied"));
        assert!(refused.stdout.is_empty(), "{out}: it began");
    }
    assert_eq!(place.read("open/theirs.png"), vec![0; 1 << 16]);
    fs::set_permissions(place.path("shut"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn files_beside_an_output_are_left_alone_and_nothing_stays() {
    let place = Place::new();
    let others = [
        "keep.tmp",
        ".keep.tmp",
        "keep.png.tmp",
        "keep.safetensors.tmp",
        "keep",
    ];
    for name in others {
        fs::write(place.path(name), "mine").unwrap();
    }
    place.sample("keep.png");
    place.done(&[
        "encode",
        "run",
        "--data",
        "toy:moons:20",
        "--out",
        "keep.safetensors",
    ]);
    for name in others {
        assert_eq!(place.read(name), b"mine", "{name}");
    }
    // The longest name that there may be: a temporary one is not made of it.
    let long = format!("{}.png", "x".repeat(251));
    place.sample(&long);
    let mut expected: Vec<String> = others.iter().map(|n| (*n).to_owned()).collect();
    expected.extend(["keep.png", "keep.safetensors", "run"].map(str::to_owned));
    expected.push(long);
    expected.sort();
    assert_eq!(place.names(), expected);
    // A name that is too long is an error before any work.
    let longer = format!("{}.png", "x".repeat(252));
    place.refused(
        &["sample", "run", "--n", "4", "--out", &longer],
        &["too long"],
    );
    assert_eq!(place.names(), expected);
}

#[test]
fn what_cannot_be_written_is_refused_before_any_work() {
    let place = Place::new();
    fs::write(place.path("file"), "mine").unwrap();
    let sample = |out: &str, word: &str| {
        place.refused(&["sample", "run", "--n", "4", "--out", out], &[out, word]);
    };
    sample("run", "is a directory");
    sample("run/", "is a directory");
    sample("not-yet/", "is a directory");
    sample(".", "is a directory");
    sample("/dev/fd", "is a directory");
    sample("/dev/fd/77", "No such file");
    sample("missing/x.png", "its folder missing does not exist");
    sample("file/x.png", "ot a directory");
    let data = ["--data", "digits:100", "--out", "file"];
    place.refused(
        &[&["train", "vae"][..], &data].concat(),
        &["file", "ot a directory"],
    );
    place.refused(&["demo", "--out", "file"], &["ot a directory"]);
    place.refused(&["shaders", "--out", "file/deep"], &["ot a directory"]);
    place.refused(
        &[
            "sample",
            "run",
            "--n",
            "4",
            "--out",
            "x.png",
            "--save-tensor",
            "missing/x",
        ],
        &["missing"],
    );
    place.refused(&["bench", "--json", "missing/report.json"], &["missing"]);
    place.refused(&["bench", "--html", "run"], &["is a directory"]);
    assert_eq!(place.names(), ["file", "run"]);
    assert_eq!(place.read("file"), b"mine");
}

#[test]
fn the_ending_says_the_format() {
    let place = Place::new();
    let begins: [(&str, &[u8]); 8] = [
        ("s.png", PNG),
        ("s.PNG", PNG),
        ("s.jpg", b"\xff\xd8\xff"),
        ("s.jpeg", b"\xff\xd8\xff"),
        ("s.gif", b"GIF8"),
        ("s.bmp", b"BM"),
        ("s.webp", b"RIFF"),
        ("no-ending", PNG),
    ];
    for (name, begin) in begins {
        place.sample(name);
        let bytes = place.read(name);
        assert!(bytes.starts_with(begin), "{name}");
        let picture = image::load_from_memory(&bytes).unwrap();
        assert_eq!((picture.width(), picture.height()), (384, 384), "{name}");
    }
    let said = place.sample("no-ending").stdout;
    assert!(String::from_utf8_lossy(&said).contains("no-ending, as PNG"));
    for name in ["s.tiff", "s.txt", "s.svg", "s.0"] {
        place.refused(
            &["sample", "run", "--n", "4", "--out", name],
            &[name, ".png", ".jpg", ".webp"],
        );
        let data = ["--data", "toy:moons:20", "--out", name];
        place.refused(&[&["reconstruct", "run"][..], &data].concat(), &[".png"]);
        place.refused(&[&["interpolate", "run"][..], &data].concat(), &[".png"]);
    }
    let sample = ["sample", "run", "--n", "4", "--out", "x.png"];
    for (option, name, word) in [
        ("--save-tensor", "x.npz", ".safetensors"),
        ("--save-tensor", "x.pt", ".safetensors"),
        ("--gif", "y.png", ".gif"),
        ("--gif", "y.mp4", ".gif"),
        ("--chain", "y.pdf", ".png"),
    ] {
        place.refused(&[&sample[..], &[option, name]].concat(), &[name, word]);
    }
    place.refused(
        &[
            "encode",
            "run",
            "--data",
            "toy:moons:20",
            "--out",
            "codes.npy",
        ],
        &["codes.npy", ".safetensors"],
    );
}

#[test]
fn a_picture_too_large_for_its_format_is_refused_before_it_is_drawn() {
    let place = Place::empty();
    place.train("digits:100", &[]);
    let base = ["interpolate", "run", "--data", "digits:100", "--n"];
    for (n, name, most) in [("283", "x.webp", "16383"), ("1200", "x.jpg", "65535")] {
        let out = place.run(&[&base[..], &[n, "--out", name]].concat());
        assert_eq!(out.status.code(), Some(2));
        let message = stderr(&out);
        assert!(
            message.contains(most) && message.contains("--n"),
            "{message}"
        );
        assert!(!place.path(name).exists());
    }
    place.done(&[&base[..], &["282", "--out", "x.webp"]].concat());
    assert_eq!(
        image::open(place.path("x.webp")).unwrap().width(),
        282 * 58 + 2
    );
}

#[test]
fn a_dash_is_standard_output() {
    let place = Place::new();
    for out in ["-", "/dev/stdout"] {
        let drawn = place.sample(out);
        let picture = image::load_from_memory(&drawn.stdout).unwrap();
        assert_eq!(picture.width(), 384);
        assert!(stderr(&drawn).contains("4 images in standard output, as PNG"));
    }
    let data = ["--data", "toy:moons:20", "--out", "-"];
    let codes = place.done(&[&["encode", "run"][..], &data].concat()).stdout;
    let tensors = safetensors::SafeTensors::deserialize(&codes).unwrap();
    assert_eq!(tensors.tensor("mu").unwrap().shape(), [2, 2]);
    for command in ["reconstruct", "interpolate"] {
        let drawn = place.done(&[&[command, "run"][..], &data].concat());
        assert!(drawn.stdout.starts_with(PNG), "{command}");
    }
    let sample = ["sample", "run", "--n", "4", "--out"];
    let tensor = place.done(&[&sample[..], &["x.png", "--save-tensor", "-"]].concat());
    assert!(safetensors::SafeTensors::deserialize(&tensor.stdout).is_ok());
    place.refused(
        &[&sample[..], &["-", "--json"]].concat(),
        &["--out -", "--json"],
    );
    place.refused(
        &[&sample[..], &["-", "--save-tensor", "-"]].concat(),
        &["--out and --save-tensor"],
    );
    for folder in [
        &["train", "vae", "--data", "toy:moons:20", "--out", "-"][..],
        &["demo", "--out", "-"],
        &["shaders", "--out", "-"],
    ] {
        place.refused(folder, &["--out -", "a folder"]);
    }
    place.sample("./-");
    assert!(place.read("-").starts_with(PNG));
}

#[test]
fn after_an_error_nothing_is_left_and_the_old_file_is_there() {
    let place = Place::new();
    fs::write(place.path("x.png"), "old").unwrap();
    fs::write(place.path("codes.safetensors"), "old").unwrap();
    let before = place.names();
    // No file of more than a block, whose size is the shell's to say.
    for arguments in [
        "sample run --n 4 --out x.png",
        "encode run --data toy:moons:2000 --out codes.safetensors",
        "encode run --data toy:moons:2000 --out new.safetensors",
    ] {
        let shell = format!(
            "ulimit -f 1; {} --device cpu {arguments}",
            env!("CARGO_BIN_EXE_wgen")
        );
        let mut command = Command::new("sh");
        let out = command
            .args(["-c", &shell])
            .current_dir(place.0.path())
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(2), "{arguments}: {}", stderr(&out));
        assert!(stderr(&out).contains("File too large"), "{}", stderr(&out));
        assert_eq!(place.names(), before, "{arguments}");
    }
    assert_eq!(place.read("x.png"), b"old");
    assert_eq!(place.read("codes.safetensors"), b"old");
}

#[test]
fn one_file_for_two_outputs_is_refused() {
    let place = Place::new();
    fs::create_dir(place.path("sub")).unwrap();
    symlink("x", place.path("link")).unwrap();
    symlink("sub", place.path("sub-link")).unwrap();
    let absolute = place.path("x").to_string_lossy().into_owned();
    for (out, tensor) in [
        ("x", "x"),
        ("x", "./x"),
        ("sub/../x", "x"),
        ("x", &absolute),
        ("x", "link"),
        ("sub/y", "sub-link/y"),
    ] {
        let sample = ["sample", "run", "--n", "4", "--out", out];
        place.refused(
            &[&sample[..], &["--save-tensor", tensor]].concat(),
            &["--out and --save-tensor are one file"],
        );
    }
    assert_eq!(place.names(), ["link", "run", "sub", "sub-link"]);
    let sample = ["sample", "run", "--n", "4", "--out"];
    place.done(&[&sample[..], &["/dev/null", "--save-tensor", "/dev/null"]].concat());
    // What is said goes where the picture would.
    let said = File::create(place.path("said.png")).unwrap();
    let arguments = [&sample[..], &["./said.png"]].concat();
    let out = place.command(&arguments).stdout(said).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(
        stderr(&out).contains("--out and standard output are one file"),
        "{}",
        stderr(&out)
    );
    // Two names that are two files after this.
    place.sample("a");
    fs::hard_link(place.path("a"), place.path("b")).unwrap();
    place.done(&[&sample[..], &["a", "--save-tensor", "b"]].concat());
    assert!(place.read("a").starts_with(PNG) && !place.read("b").starts_with(PNG));
}

#[test]
fn what_a_command_reads_is_not_written_over() {
    let place = Place::new();
    let weights = place.read("run/model.safetensors");
    symlink("run/model.safetensors", place.path("codes.safetensors")).unwrap();
    let encode = ["encode", "run", "--data", "toy:moons:20", "--out"];
    for out in [
        "run/model.safetensors",
        "./run/../run/model.safetensors",
        "codes.safetensors",
        "run/checkpoints/3/model.safetensors",
    ] {
        place.refused(&[&encode[..], &[out]].concat(), &["is part of the run"]);
    }
    assert_eq!(place.read("run/model.safetensors"), weights);
    // Its own file in the run's folder, again and again.
    for _ in 0..2 {
        place.done(&[&encode[..], &["run/codes.safetensors"]].concat());
    }
    place.refused(
        &[
            "sample",
            "run",
            "--n",
            "4",
            "--out",
            "x.png",
            "--init-noise",
            "noise.safetensors",
            "--save-tensor",
            "./noise.safetensors",
        ],
        &["is the file that --init-noise reads"],
    );
    // A picture among pictures that are data would be one of them.
    fs::create_dir_all(place.path("pictures/a")).unwrap();
    for i in 0..12 {
        let picture = image::RgbImage::from_pixel(8, 8, image::Rgb([20 * i, 0, 0]));
        picture
            .save(place.path(&format!("pictures/a/{i}.png")))
            .unwrap();
    }
    let data = ["--data", "images:pictures", "--out"];
    for out in ["pictures/a/0.png", "pictures/new.png"] {
        let words = ["reconstruct", "run"];
        place.refused(
            &[&words[..], &data, &[out]].concat(),
            &[out, "lies in the folder of --data"],
        );
    }
    place.refused(
        &[&["train", "vae"][..], &data, &["pictures/run"]].concat(),
        &["pictures/run", "lies in the folder of --data"],
    );
}

#[test]
fn a_lost_answer_is_an_error() {
    let place = Place::new();
    let full = |arguments: &[&str]| {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let out = place.command(arguments).stdout(full).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{arguments:?}");
        let message = stderr(&out);
        assert!(
            message.contains("error: standard output: No space left"),
            "{message}"
        );
    };
    let eval = ["eval", "run", "--data", "toy:moons:100"];
    full(&[&eval[..], &["--json"]].concat());
    full(&eval);
    full(&["sample", "run", "--n", "4", "--out", "x.png", "--json"]);
    // What was made is there all the same.
    assert!(place.read("x.png").starts_with(PNG));
    full(&["sample", "run", "--n", "4", "--out", "-"]);
    full(&["info"]);
    full(&["info", "--json"]);
    full(&["--help"]);
    full(&["train", "vae", "--help"]);
    full(&["--version"]);
    let train = [
        "train",
        "vae",
        "--data",
        "toy:moons:100",
        "--out",
        "second",
        "--steps",
        "2",
        "--batch",
        "10",
    ];
    full(&train);
    assert!(place.path("second/model.safetensors").exists());
    // Nothing was to be said, nothing is lost.
    let file = File::options().write(true).open("/dev/full").unwrap();
    let arguments = ["-q", "sample", "run", "--n", "4", "--out", "x.png"];
    let quiet = place.command(&arguments).stdout(file).output().unwrap();
    assert_eq!(quiet.status.code(), Some(0), "{}", stderr(&quiet));
    // The reader of a pipe went away: he has what he wanted.
    for arguments in [
        &["eval", "run", "--data", "toy:moons:100", "--json"][..],
        &["sample", "run", "--n", "4", "--out", "-"],
        &["--help"],
        &["info"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let out = place.command(arguments).stdout(writer).output().unwrap();
        let message = stderr(&out);
        assert_eq!(out.status.code(), Some(0), "{arguments:?}: {message}");
        assert!(!message.contains("error"), "{arguments:?}: {message}");
    }
}

#[test]
fn reports_are_compared_into_a_file_that_is_neither() {
    common::gpu();
    let place = Place::empty();
    let bench = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wgen"));
        command
            .arg("bench")
            .args(arguments)
            .current_dir(place.0.path());
        command.output().unwrap()
    };
    let line = ["--filter", "matmul nt 512", "--rounds", "1", "--json"];
    let measured = bench(&[&line[..], &["-"]].concat());
    let text = String::from_utf8(measured.stdout).unwrap();
    assert!(
        serde_json::from_str::<serde_json::Value>(&text).is_ok(),
        "{text}"
    );
    // As PowerShell redirects it.
    let wide: Vec<u8> = std::iter::once(0xfeff)
        .chain(text.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    fs::write(place.path("old.json"), wide).unwrap();
    fs::write(place.path("new.json"), &text).unwrap();
    let compare = ["--compare", "old.json", "new.json", "--json"];
    let over = bench(&[&compare[..], &["./new.json"]].concat());
    assert_eq!(over.status.code(), Some(2));
    assert!(
        stderr(&over).contains("--compare reads"),
        "{}",
        stderr(&over)
    );
    assert_eq!(place.read("new.json"), text.as_bytes());
    let done = bench(&[&compare[..], &["changes.json"]].concat());
    assert!(done.status.success(), "{}", stderr(&done));
    let changes: serde_json::Value = serde_json::from_slice(&place.read("changes.json")).unwrap();
    assert_eq!(changes[0]["ratio"], 1.0);
    assert!(Path::new(&place.path("changes.json")).is_file());
}
