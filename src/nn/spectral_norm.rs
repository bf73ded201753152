//! Spectral normalisation (Miyato et al. 2018): a weight divided by its largest singular value.

use super::pass::Pass;
use crate::graph::Var;
use crate::graph::layout::{Init, Parameter, Role};
use crate::kernels::matmul::Layout;
use crate::tensor::Shape;

/// torch.nn.utils.spectral_norm of a weight: the weight itself is `weight_orig`, the singular vectors `weight_u` and `weight_v` are state,
/// brought nearer by one power iteration a step (Miyato et al. 2018, algorithm 1).
#[derive(Clone, Debug)]
pub struct SpectralNorm {
    weight: Parameter,
}

const EPSILON: f64 = 1e-12;

impl SpectralNorm {
    /// Of a weight whose first axis is its matrix' rows.
    pub fn of(weight: &Parameter) -> Self {
        Self {
            weight: weight.clone(),
        }
    }

    fn sizes(&self) -> (usize, usize) {
        let rows = self.weight.shape.dims()[0];
        (rows, self.weight.shape.count() / rows.max(1))
    }

    fn named(&self, what: &str) -> String {
        format!("{}_{what}", self.weight.name)
    }

    /// The weight under its new name, and the two vectors. `weight_v` follows the weight's columns, also through the border.
    pub fn parameters(&self) -> Vec<Parameter> {
        let (rows, columns) = self.sizes();
        let state = Role::State(self.weight.role.set());
        // Their directions matter, not their lengths, which the first iteration sets.
        let drawn = Init::Normal(0.0, 1.0);
        let mut v = Parameter::new(self.named("v"), &self.weight.shape.dims()[1..], drawn);
        if self.weight.border.first() == Some(&0) {
            v.border = self.weight.border[1..].iter().map(|a| a - 1).collect();
        }
        v.file_shape = Some([columns].into());
        vec![
            Parameter {
                name: self.named("orig"),
                ..self.weight.clone()
            },
            Parameter::new(self.named("u"), [rows], drawn).with_role(state),
            v.with_role(state),
        ]
    }

    /// weight / sigma, sigma = u^T W v: u and v are constants to the gradient. A training pass moves them first.
    pub fn weight<'g>(&self, pass: &Pass<'g>) -> Var<'g> {
        let graph = pass.graph();
        let (rows, columns) = self.sizes();
        let shape: Shape = self.weight.shape.clone();
        let weight = graph.parameter(&self.named("orig"), shape.clone());
        let matrix = weight.reshape([rows, columns]);
        let (u_name, v_name) = (self.named("u"), self.named("v"));
        let mut u = pass.state(&u_name, &[rows]).reshape([rows, 1]);
        let mut v = pass
            .state(&v_name, &shape.dims()[1..])
            .reshape([columns, 1]);
        if pass.is_training() {
            let unit = |x: Var<'g>| x / x.square().sum_all().sqrt().max(graph.constant(EPSILON));
            v = unit(matrix.matmul_as(Layout::Tn, u)).stop_gradient();
            u = unit(matrix.matmul(v)).stop_gradient();
            pass.replace(&u_name, u.reshape([rows]));
            pass.replace(&v_name, v.reshape(&shape.dims()[1..]));
        }
        let sigma = (matrix.matmul(v) * u).sum_all();
        weight / sigma
    }
}
