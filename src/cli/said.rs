//! What is said of data that was read.

pub(super) use super::common::counted;
use super::posed::of_views;
use crate::data::Report;
use crate::data::report::{PassedOver, Pictures, Reason, Used};
use crate::data::scene::{RAY, ROW_BYTES};
use crate::tensor::ImageShape;

/// Which part it is.
pub(super) fn used(report: &Report) -> String {
    let n = report.examples;
    let thing = if report.posed.is_some() {
        "ray"
    } else {
        "example"
    };
    match &report.used {
        Used::All => match n {
            1 => format!("1 {thing}, none held out"),
            n => format!("all {n} {thing}s, none held out"),
        },
        Used::Training if report.of > n => {
            format!(
                "{} to train on of {}, {} held out",
                counted(n, thing),
                report.of,
                report.of - n
            )
        }
        Used::Training => format!("{} to train on", counted(n, thing)),
        Used::HeldOut { seed } => {
            format!(
                "{} of {} (seed {seed}), which training does not see",
                counted(n, "held-out example"),
                report.of
            )
        }
        Used::Part(name) => format!("{} of the part to test on ({name})", counted(n, thing)),
    }
}

/// What data is, in a line or a few: nothing of what there is not.
pub(super) fn lines(report: &Report, shape: ImageShape) -> Vec<String> {
    let mut lines = Vec::new();
    if !report.parts.is_empty() {
        let parts: Vec<String> = report
            .parts
            .iter()
            .map(|p| format!("{}/ {}", p.name, p.examples))
            .collect();
        lines.push(format!(
            "parts by their folders' names: {}",
            parts.join(", ")
        ));
    }
    if report.classes.is_empty() && report.source.starts_with("idx:") {
        lines.push("no labels lie beside the images: read without".to_owned());
    }
    if let Some(pictures) = &report.pictures {
        lines.push(format!("pictures: {}", of_pictures(pictures, shape)));
    }
    if let Some(posed) = &report.posed {
        lines.extend(of_views(posed));
    }
    if !report.classes.is_empty() {
        lines.push(of_classes(report));
    }
    if let ([only], [_, _, ..]) = (report.classes.as_slice(), report.inner_folders.as_slice()) {
        lines.push(format!(
            "one class, {}, with all that lies in {}: name that folder alone where these are the classes",
            only.name,
            few(&report.inner_folders)
        ));
    }
    if !report.empty_folders.is_empty() {
        lines.push(format!(
            "folders without pictures, which are no classes: {}",
            few(&report.empty_folders)
        ));
    }
    if !report.passed_over.is_empty() {
        let words: Vec<String> = report.passed_over.iter().map(passed_over).collect();
        lines.push(format!("passed over: {}", words.join("; ")));
    }
    if !report.broken.is_empty() {
        lines.push(format!(
            "passed over, since they cannot be decoded: {}",
            report.broken.len()
        ));
        lines.extend(report.broken.iter().take(10).map(|b| format!("  {b}")));
        if report.broken.len() > 10 {
            lines.push(format!("  and {} more", report.broken.len() - 10));
        }
    }
    lines
}

fn of_pictures(pictures: &Pictures, shape: ImageShape) -> String {
    let size = |[w, h]: [u32; 2]| format!("{w} x {h}");
    let mut words = vec![if pictures.sizes == 1 {
        size(pictures.largest)
    } else {
        format!(
            "{} sizes from {} to {}",
            pictures.sizes,
            size(pictures.smallest),
            size(pictures.largest)
        )
    }];
    let mut add = |count: usize, what: &str| {
        if count > 0 {
            words.push(format!("{count} {what}"));
        }
    };
    add(pictures.colour, "in colour");
    add(pictures.grey, "in grey");
    add(pictures.turned, "turned as their camera says (EXIF)");
    add(
        pictures.alpha,
        "partly transparent, composed over the background (--background)",
    );
    add(
        pictures.stretched,
        "oblong and stretched to a square (--crop takes the middle instead)",
    );
    add(
        pictures.cropped,
        "oblong, of which the square in the middle is taken",
    );
    format!("{}; read as {}", words.join(", "), shown(shape))
}

fn of_classes(report: &Report) -> String {
    const MOST: usize = 20;
    let with: Vec<_> = report.classes.iter().filter(|c| c.examples > 0).collect();
    let mut named: Vec<String> = with
        .iter()
        .take(MOST)
        .map(|c| format!("{} {}", c.name, c.examples))
        .collect();
    if with.len() > MOST {
        named.push(format!("{} more", with.len() - MOST));
    }
    let none: Vec<String> = report
        .without_examples()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let none = if none.is_empty() {
        String::new()
    } else {
        format!("; without examples: {}", few(&none))
    };
    format!("classes: {}{none}", named.join(", "))
}

fn few(names: &[String]) -> String {
    const MOST: usize = 10;
    let first = names[..names.len().min(MOST)].join(", ");
    if names.len() > MOST {
        format!("{first} and {} more", names.len() - MOST)
    } else {
        first
    }
}

fn passed_over(line: &PassedOver) -> String {
    let what = match line.reason {
        Reason::Hidden => "hidden",
        Reason::System => "left by a system",
        Reason::OtherFiles => "no pictures",
        Reason::OtherFormats => {
            "pictures of formats that are not read (convert them to PNG or JPEG)"
        }
        Reason::Loops => "links back to a folder above",
        Reason::NoFiles => "neither files nor folders",
        Reason::OtherParts => "other parts",
    };
    format!(
        "{} {what} ({}{})",
        line.count,
        line.example,
        if line.count > 1 { ", ..." } else { "" }
    )
}

/// A shape as a person has it.
pub(super) fn shown(shape: ImageShape) -> String {
    match shape.channels {
        ROW_BYTES if shape == RAY => "rays of posed pictures".to_owned(),
        1 if shape.height == 1 => format!("points of {} values", shape.width),
        1 => format!("{} x {} in grey", shape.width, shape.height),
        3 => format!("{} x {} in colour", shape.width, shape.height),
        n => format!("{} x {} with {n} channels", shape.width, shape.height),
    }
}
