//! Rays of posed cameras, in the world and in normalised device coordinates.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op, in_precision};
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::camera::Camera;
use crate::kernels::camera_rays::{
    self, CAMERA_FLOATS, NEWTON_STEPS, POSE_FLOATS, RAY_FLOATS, ROW_BYTES,
};
use crate::real::Real;
use crate::reference;
use crate::tensor::{TensorType, Value};

/// Origins and directions `[rays, 6]` of pixels, by their rows `[rays, 8]` and the poses `[views, 12]`; with cameras `[views, 16]` `[rays, 7]`.
#[derive(Clone, Debug)]
pub(crate) struct CameraRays {
    /// The camera of all views; `None` where there is a table of them.
    pub camera: Option<Camera>,
}

impl CameraRays {
    fn kernel(&self, inputs: &[&TensorType]) -> Result<camera_rays::CameraRays> {
        let wrong = |why: String| Error::shape("camera_rays", why);
        let dims: Vec<&[usize]> = inputs.iter().map(|t| t.shape.dims()).collect();
        let (rays, views) = match dims.as_slice() {
            &[&[rays, ROW_BYTES], &[views, POSE_FLOATS], ..] if views > 0 => (rays, views),
            _ => (0, 0),
        };
        let mut wanted = vec![
            TensorType::f32([rays, ROW_BYTES]),
            TensorType::f32([views, POSE_FLOATS]),
        ];
        let mut cameras = String::new();
        if self.camera.is_none() {
            wanted.push(TensorType::f32([views, CAMERA_FLOATS]));
            cameras = format!(" and f32 cameras [views, {CAMERA_FLOATS}]");
        }
        if views == 0 || !inputs.iter().copied().eq(&wanted) {
            return Err(wrong(format!(
                "takes f32 rows [rays, {ROW_BYTES}], f32 poses [views, {POSE_FLOATS}]{cameras} of at least one view, got {}",
                shapes(inputs)
            )));
        }
        if let Some(camera) = &self.camera {
            check(camera, views).map_err(wrong)?;
        }
        Ok(camera_rays::CameraRays {
            rays,
            views,
            camera: self.camera,
            newton: NEWTON_STEPS,
        })
    }
}

/// Refuses a camera of which `views` views have no pictures, or too large ones, or which is no pinhole.
fn check(camera: &Camera, views: usize) -> Result<(), String> {
    let Camera {
        width,
        height,
        fx,
        fy,
        cx,
        cy,
        pixel_offset,
        lens,
    } = *camera;
    let positive = |x: f64| x.is_finite() && x > 0.0;
    if width == 0 || height == 0 || !positive(fx) || !positive(fy) {
        return Err(format!(
            "the camera needs pixels and focal lengths above 0, got {width} x {height} pixels, fx {fx}, fy {fy}"
        ));
    }
    if ![cx, cy, pixel_offset].iter().all(|x| x.is_finite()) {
        return Err(format!(
            "the camera's cx {cx}, cy {cy} and pixel_offset {pixel_offset} must be finite"
        ));
    }
    if !lens.is_pinhole() {
        return Err(
            "the camera has a lens, which a table of cameras has room for (camera_rays_of)"
                .to_owned(),
        );
    }
    // Pixels are counted in 32 bits.
    let pixels = (views as u64).checked_mul(width as u64 * height as u64);
    if pixels.is_none_or(|n| n > 1 << 32) {
        return Err(format!(
            "{views} views of {width} x {height} have more than 2^32 pixels"
        ));
    }
    Ok(())
}

impl Op for CameraRays {
    fn name(&self) -> &'static str {
        "camera_rays"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let kernel = self.kernel(inputs)?;
        Ok(TensorType::f32([kernel.rays, kernel.floats()]))
    }

    /// Poses are given, not learned: where one asks for their gradient it is said, not taken for 0.
    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        at.upstream.graph().fail(Error::Usage(
            "camera_rays: rays have no gradient by pixels, poses or cameras; these cannot be parameters"
                .to_owned(),
        ));
        vec![None; at.inputs.len()]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let kernel = self.kernel(&types.iter().collect::<Vec<_>>())?;
        let data = in_precision!(cx.precision, T => {
            let (rows, poses) = (T::of(&inputs[0].data), T::of(&inputs[1].data));
            T::into_data(match &self.camera {
                Some(camera) => reference::camera_rays::camera_rays(camera, rows, poses),
                None => reference::camera_rays::of_table(rows, poses, T::of(&inputs[2].data), NEWTON_STEPS),
            })
        });
        Value::new([kernel.rays, kernel.floats()], data)
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let given = (0..inputs.len()).map(Argument::Input);
        let arguments = given.chain([Argument::Output]).collect();
        Ok(Lowering::single(self.kernel(inputs)?, arguments))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let key = self.camera.map(|c| {
            let reals = [c.fx, c.fy, c.cx, c.cy, c.pixel_offset].map(f64::to_bits);
            (c.width, c.height, reals)
        });
        Some(MergeKey::of(self, key))
    }
}

impl<'g> Var<'g> {
    /// Origins and directions `[rays, 6]` of the pixels whose rows self `[rays, 8]` has, as [`camera_rays`] describes them: bytes 0 to 255
    /// as f32, the last four the pixel's number. `poses` `[views, 12]` are the rows of each camera's 3x4 matrix to the world. Directions are
    /// in units of depth: -1 along the camera's axis, not normalised. No gradient.
    pub fn camera_rays(self, poses: Self, camera: &Camera) -> Self {
        let camera = Some(*camera);
        self.graph().apply(CameraRays { camera }, &[self, poses])
    }

    /// The same of views each of which has its own camera and lens, row by row of `cameras` `[views, 16]` ([`camera_rays::table`]), and behind each ray
    /// the number of its view: `[rays, 7]`. Directions of a fisheye have length 1. No gradient.
    pub fn camera_rays_of(self, poses: Self, cameras: Self) -> Self {
        let op = CameraRays { camera: None };
        self.graph().apply(op, &[self, poses, cameras])
    }

    /// Rays self `[rays, 6]` of cameras that look along -z, in normalised device coordinates (Mildenhall et al. 2020, appendix C): the
    /// frustum from the plane z = -`near` to infinity becomes the cube [-1, 1]^3, and a distance of 0 to 1 along the new rays all of it.
    /// `near` is above 0, in units of the world; directions must have a z. The camera's axis is taken to meet the picture's middle.
    pub fn ndc(self, camera: &Camera, near: f64) -> Self {
        if self.shape().dims().get(1) != Some(&RAY_FLOATS) {
            self.graph().fail(Error::shape(
                "ndc",
                format!("takes rays [rays, {RAY_FLOATS}], got {:?}", self.shape()),
            ));
            return self;
        }
        let column = |c: usize| self.slice(1, c, c + 1);
        let (o, d) = ([0, 1, 2].map(column), [3, 4, 5].map(column));
        // Where the ray passes the near plane.
        let t = -(o[2] + near) / d[2];
        let o = [0, 1, 2].map(|i| o[i] + t * d[i]);
        let scales = [
            -2.0 * camera.fx / camera.width as f64,
            -2.0 * camera.fy / camera.height as f64,
        ];
        let [x, y] = [0, 1].map(|i| o[i] / o[2]);
        let depth = self.graph().constant(2.0 * near) / o[2];
        self.graph().concat(
            1,
            &[
                x * scales[0],
                y * scales[1],
                depth + 1.0,
                (d[0] / d[2] - x) * scales[0],
                (d[1] / d[2] - y) * scales[1],
                -depth,
            ],
        )
    }
}
