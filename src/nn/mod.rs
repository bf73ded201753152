//! What networks are made of: layers, named and initialised as PyTorch's, initial weights, and the schedules of a training run. A layer
//! says which parameters it has and applies itself to variables of a graph.
//!
//! ```
//! use wgen::graph::Graph;
//! use wgen::kernels::philox::Domain;
//! use wgen::nn::{Activation, Pass, Sequential};
//! use wgen::tensor::TensorType;
//!
//! let net = Sequential::dense("net", &[4, 8, 2], Activation::Relu, Activation::Identity);
//! let names: Vec<String> = net.parameters().into_iter().map(|p| p.name).collect();
//! assert_eq!(names, ["net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias"]);
//!
//! let graph = Graph::new(Domain::Training);
//! let x = graph.input("x", TensorType::f32([16, 4]));
//! let y = net.forward(&Pass::training(&graph), x);
//! assert_eq!(y.shape(), [16, 2].into());
//! ```

pub(crate) mod activation;
pub(crate) mod batch_norm;
pub(crate) mod conv;
pub(crate) mod group_norm;
pub mod init;
pub(crate) mod linear;
pub(crate) mod pass;
pub mod schedule;
pub(crate) mod sequential;
pub(crate) mod spectral_norm;

pub use activation::Activation;
pub use batch_norm::BatchNorm;
pub use conv::Conv2d;
pub use group_norm::GroupNorm;
pub use linear::Linear;
pub use pass::Pass;
pub use sequential::{Layer, Sequential};
pub use spectral_norm::SpectralNorm;
