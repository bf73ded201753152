//! What is wrong with a scene, in words with numbers and with what would help.

use serde::Serialize;

use super::Examination;
use crate::data::scene::pose::{dot, minus};
use crate::data::scene::sight::quantile;
use crate::data::scene::views::Views;
use crate::kernels::camera::Lens;

/// How many times too large or too small a box may be without a word.
const FITS: f64 = 2.5;

/// Fields of view, in degrees, beyond which a camera is hardly one.
const VIEWS: [f64; 2] = [3.0, 150.0];

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What it is.
    pub kind: Kind,
    /// The same in words, with numbers and what would help.
    pub text: String,
}

/// What may be wrong with a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Most of it is outside of the box.
    BoxTooSmall,
    /// It is a small part of the box.
    BoxTooLarge,
    /// What cameras look at is outside of the box.
    FocusOutside,
    /// What cameras look at is behind them: their axes have other directions.
    BackToFront,
    /// What is up in the pictures is down in the world.
    UpsideDown,
    /// Points are not seen where they should be: focal lengths, poses or pictures are of something else.
    Reprojection,
    /// A field of view that cameras hardly have.
    FieldOfView,
    /// An axis that meets the picture far from its middle.
    PrincipalPoint,
    /// Cameras far from all others.
    Outliers,
    /// Pictures that are not there.
    Missing,
}

pub(super) fn warnings(found: &Examination, views: &Views) -> Vec<Warning> {
    let all: [Option<(Kind, String)>; 9] = [
        back_to_front(found),
        reprojection(found, views),
        box_size(found),
        focus(found),
        upside_down(found),
        field_of_view(views),
        principal_point(views),
        outliers(views),
        missing(found),
    ];
    let all = all.into_iter().flatten();
    all.map(|(kind, text)| Warning { kind, text }).collect()
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn place(p: [f64; 3]) -> String {
    format!("({:.3}, {:.3}, {:.3})", p[0], p[1], p[2])
}

/// To two digits.
fn rounded(x: f64) -> f64 {
    let digit = 10_f64.powf(x.abs().max(1e-30).log10().floor() - 1.0);
    (x / digit).round() * digit
}

fn back_to_front(found: &Examination) -> Option<(Kind, String)> {
    let up = if found.up[2] < -0.1 {
        "; what is up in the pictures is down in the world, too, which speaks for it"
    } else {
        ""
    };
    let what = "the axes are OpenCV's (x right, y down, z forwards) where those of a transform_matrix are OpenGL's (x right, y up, z backwards): negate \
                its second and third column";
    if let Some(points) = found.points.filter(|p| p.behind > 0.5) {
        let share = percent(points.behind);
        let text = format!(
            "{share} of what pictures see of the points lies behind their cameras: {what}{up}"
        );
        return Some((Kind::BackToFront, text));
    }
    let focus = found.focus.filter(|f| f.before < 0.5)?;
    // Of points it is known that they are seen.
    if found.points.is_some() {
        return None;
    }
    let text = format!(
        "the place where the cameras' axes meet, {}, is behind {} of them: {what}{up}. Cameras that look outwards, from the middle of a room, are right so",
        place(focus.place),
        percent(1.0 - focus.before)
    );
    Some((Kind::BackToFront, text))
}

fn reprojection(found: &Examination, views: &Views) -> Option<(Kind, String)> {
    let seen = found.reprojection?;
    let width = views.cameras.iter().map(|c| c.width).max().unwrap_or(0);
    if seen.median <= (0.002 * width as f64).max(2.0) {
        return None;
    }
    let ratio = seen.focal_ratio;
    let why = if (ratio - 1.0).abs() > 0.05 {
        format!(
            "focal lengths {ratio:.2} times as long would fit: those of the files are of pictures of another size, or wrong"
        )
    } else {
        "poses, points and pictures are not of one reconstruction".to_owned()
    };
    let text = format!(
        "points are seen {:.1} pixels from where they should be (median of {}; 95th percentile {:.1}): {why}",
        seen.median, seen.seen, seen.percentile_95
    );
    Some((Kind::Reprojection, text))
}

fn box_size(found: &Examination) -> Option<(Kind, String)> {
    let proposal = found.proposal?;
    let (kind, words) = if proposal.scale < 1.0 / FITS {
        (Kind::BoxTooSmall, "small")
    } else if proposal.scale > FITS {
        (Kind::BoxTooLarge, "large")
    } else {
        return None;
    };
    let by = match proposal.by {
        "points" => "what its points reach",
        "depths" => "the depths that its files say",
        "focus" => "how far cameras are from what they look at",
        _ => "where its cameras are",
    };
    // Innermost is the box that would fit, and each around it twice as large.
    let around = match kind {
        Kind::BoxTooLarge if found.cameras_in_box > 0.5 => format!(
            ". Where the scene goes on around that, the box is right, with `cascades` {}",
            (1.0 + proposal.scale.log2().round()).clamp(2.0, 8.0)
        ),
        _ => String::new(),
    };
    let text = format!(
        "a box of half side {} is about {} times too {words} for the scene, by {by}: {} of the rays meet it, {} of the cameras stand in it; \
         `scene_scale` {}, or `half_side` {}, would fit{around}",
        found.half_side,
        rounded(proposal.scale.max(1.0 / proposal.scale)),
        percent(found.rays_in_box),
        percent(found.cameras_in_box),
        rounded(proposal.scale),
        rounded(proposal.half_side)
    );
    Some((kind, text))
}

fn focus(found: &Examination) -> Option<(Kind, String)> {
    let focus = found.focus.filter(|f| f.before > 0.5)?;
    let far = focus.place.iter().any(|x| x.abs() > found.half_side);
    far.then(|| {
        let text = format!(
            "cameras look at {}, which is outside of the box of half side {} round the origin: {} of the rays meet it; move the scene there",
            place(focus.place),
            found.half_side,
            percent(found.rays_in_box)
        );
        (Kind::FocusOutside, text)
    })
}

fn upside_down(found: &Examination) -> Option<(Kind, String)> {
    (found.up[2] < -0.3).then(|| {
        let text = format!(
            "what is up in the pictures is {} in the mean, where +z is up here: ways round the scene will be upside down",
            place(found.up)
        );
        (Kind::UpsideDown, text)
    })
}

fn field_of_view(views: &Views) -> Option<(Kind, String)> {
    let odd = views.cameras.iter().enumerate().find_map(|(i, camera)| {
        let [across, _] = camera.field_of_view();
        let fisheye = matches!(camera.lens, Lens::Fisheye { .. });
        let wide = across > VIEWS[1] && !fisheye;
        (across < VIEWS[0] || wide).then_some((i, across))
    });
    odd.map(|(i, across)| {
        let camera = &views.cameras[i];
        let text = format!(
            "{} covers {across:.1} degrees, by a focal length of {:.1} pixels in a picture of {} x {}: are the two of one picture?",
            views.names[i], camera.fx, camera.width, camera.height
        );
        (Kind::FieldOfView, text)
    })
}

fn principal_point(views: &Views) -> Option<(Kind, String)> {
    let off = |at: f64, size: usize| (at / size as f64 - 0.5).abs() > 0.25;
    let found = views
        .cameras
        .iter()
        .position(|c| off(c.cx, c.width) || off(c.cy, c.height));
    found.map(|i| {
        let c = &views.cameras[i];
        let text = format!(
            "the axis of {} meets its picture at ({:.1}, {:.1}), far from the middle of {} x {}: cx and cy may be of pictures of another size (w, h)",
            views.names[i], c.cx, c.cy, c.width, c.height
        );
        (Kind::PrincipalPoint, text)
    })
}

fn outliers(views: &Views) -> Option<(Kind, String)> {
    let median = [0, 1, 2].map(|axis| {
        let mut all: Vec<f64> = views.poses.iter().map(|p| p.position()[axis]).collect();
        all.sort_unstable_by(f64::total_cmp);
        quantile(&all, 0.5)
    });
    let away = |i: usize| {
        let d = minus(views.poses[i].position(), median);
        dot(d, d).sqrt()
    };
    let mut order: Vec<usize> = (0..views.poses.len()).collect();
    order.sort_by(|&a, &b| away(b).total_cmp(&away(a)));
    let usual = away(*order.get(order.len() / 2)?);
    let far: Vec<usize> = order
        .into_iter()
        .take_while(|&i| away(i) > 10.0 * usual)
        .collect();
    let first = *far.first()?;
    let text = format!(
        "{} of {} cameras are more than ten times as far from the others' middle as half of them; the farthest, {}, is {:.3} away, half of them at most \
         {usual:.3}: take them out",
        far.len(),
        views.poses.len(),
        views.names[first],
        away(first)
    );
    (usual > 0.0).then_some((Kind::Outliers, text))
}

fn missing(found: &Examination) -> Option<(Kind, String)> {
    let posed = &found.posed;
    (posed.missing > 0).then(|| {
        let text = format!(
            "{} of {} listed pictures are not there: {}",
            posed.missing,
            posed.listed,
            posed.missing_shown()
        );
        (Kind::Missing, text)
    })
}
