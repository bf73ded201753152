//! One training step of each model on the GPU against PyTorch in f64: the loss and every parameter's gradient.
//! `tests/golden/models.py` writes the tensors.

mod common;

use common::{golden, gpu, gradients};
use wgen::graph::layout::Layout;
use wgen::graph::update::{Rule, Update};
use wgen::models::autoencoder::contractive::{self, Contractive};
use wgen::models::autoencoder::sparse::{self, Sparse, Sparsity};
use wgen::models::autoencoder::{self, Autoencoder, Corruption};
use wgen::models::classifier::{self, Classifier};
use wgen::models::gan::{self, Gan, Networks};
use wgen::models::vae::{self, Vae};
use wgen::models::{DataType, Model};
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::Flat;
use wgen::program::PlanOptions;
use wgen::real::Precision;
use wgen::tensor::ImageShape;
use wgen::tensor::{DType, Data};

const BATCH: usize = 6;
const CLASSES: usize = 5;

fn square(side: usize, channels: usize) -> ImageShape {
    ImageShape {
        height: side,
        width: side,
        channels,
    }
}

fn sparse_model(sparsity: Sparsity) -> Box<dyn Model> {
    let config = sparse::Config {
        image: square(8, 1),
        latent: 24,
        sparsity,
        revival: 0.0,
        corruption: Corruption::None,
    };
    Box::new(Sparse::new(config).unwrap())
}

fn contractive_model(layers: &[usize]) -> Box<dyn Model> {
    let config = contractive::Config {
        layers: layers.to_vec(),
        ..contractive::Config::single(square(8, 1), 0.1)
    };
    Box::new(Contractive::new(config).unwrap())
}

/// The model of a case, which of its updates, and the factor of PyTorch's loss in the reported sum.
fn model(name: &str) -> (Box<dyn Model>, usize, f64) {
    let dense = autoencoder::Config {
        hidden: vec![20, 11],
        latent: 4,
        ..autoencoder::Config::deep(square(8, 1))
    };
    let convolutional = autoencoder::Config {
        image: square(8, 3),
        hidden: Vec::new(),
        channels: vec![4, 6],
        latent: 5,
        ..dense.clone()
    };
    let dcgan = || {
        let config = gan::Config {
            networks: Networks::Dcgan {
                generator_channels: 4,
                discriminator_channels: 4,
                discriminator_norm: true,
            },
            latent: 5,
            ..gan::Config::for_data(square(16, 1), true)
        };
        Box::new(Gan::new(config).unwrap())
    };
    match name {
        "ae" => (Box::new(Autoencoder::new(dense).unwrap()), 0, 1.0),
        "conv_ae" => (Box::new(Autoencoder::new(convolutional).unwrap()), 0, 1.0),
        "conv_vae" => {
            let config = vae::Config {
                width: 64,
                hidden: Vec::new(),
                image: Some(square(8, 1)),
                channels: vec![4, 6],
                latent: 3,
                classes: CLASSES,
                ..vae::Config::mnist()
            };
            (Box::new(Vae::new(config).unwrap()), 0, 1.0)
        }
        "sparse_top_k" => (sparse_model(Sparsity::TopK { k: 7 }), 0, 1.0),
        "sparse_l1" => (sparse_model(Sparsity::L1 { penalty: 0.1 }), 0, 1.0),
        "sparse_kl" => {
            let (rho, penalty) = (0.1, 0.5);
            (sparse_model(Sparsity::Kl { rho, penalty }), 0, 1.0)
        }
        "contractive" => (contractive_model(&[9]), 0, 1.0),
        "contractive_deep" => (contractive_model(&[12, 7]), 0, 1.0),
        "classifier" => {
            let config = classifier::Config {
                channels: [4, 6],
                features: 10,
                ..classifier::Config::mnist(square(12, 1), CLASSES)
            };
            (Box::new(Classifier::new(config).unwrap()), 0, 1.0)
        }
        // Losses of GANs are means over the batch; sums are reported.
        "dcgan_discriminator" => (dcgan(), 0, BATCH as f64),
        "dcgan_generator" => (dcgan(), 1, BATCH as f64),
        other => panic!("no case '{other}'"),
    }
}

#[test]
fn gradients_of_whole_models_agree_with_pytorch() {
    let gpu = gpu();
    let tensors = golden("models");
    let mut names: Vec<&str> = tensors
        .keys()
        .filter_map(|k| k.strip_suffix("/loss"))
        .collect();
    names.sort_unstable();
    assert_eq!(names.len(), 11, "{names:?}");
    let mut compared = 0;
    for name in names {
        let (model, phase, factor) = model(name);
        let data = &tensors[&format!("{name}/data")];
        let labels = tensors.get(&format!("{name}/labels"));
        let ty = DataType {
            rows: BATCH,
            width: data.shape.dims()[1],
            dtype: DType::F32,
            indices: BATCH,
            scale: 1.0,
            shift: 0.0,
            classes: if labels.is_some() { CLASSES } else { 0 },
            cameras: None,
        };
        let about = model.phases().swap_remove(phase);
        let update = Update {
            rule: Rule::ADAM,
            max_norm: 0.0,
            ema: false,
            metrics: about.metrics.clone(),
            set: about.set,
            batch: BATCH,
            takes_data: about.takes_data,
            loss_scale: false,
        };
        let graph = model.training(phase, &ty, &update).unwrap();
        let layout = Layout::new(model.parameters(), 1 << 27).unwrap();
        let weights = gradients::weights(name, &tensors, &layout);
        let options = StoreOptions {
            training: true,
            ema: false,
        };
        let store = Store::new(&gpu, layout.clone(), options).unwrap();
        store.write(Flat::Parameters, &weights).unwrap();
        store.set_state(41, 0x0123_4567_89ab_cdef, 0).unwrap();
        let row = Rule::ADAM.schedule_row(41, 1e-3, 0.0, 1.0);
        store.write_schedule(41, &[row; 2], true).unwrap();
        let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
        if graph.has_input("data") {
            plan.write("data", &data.data.clone().in_precision(Precision::F32))
                .unwrap();
            plan.write("index", &Data::U32((0..BATCH as u32).collect()))
                .unwrap();
        }
        if let (true, Some(labels)) = (graph.has_input("labels"), labels) {
            let bytes = labels.data.to_f32().iter().map(|&x| x as u8).collect();
            plan.write("labels", &Data::U8(bytes)).unwrap();
        }
        plan.run(1).unwrap();

        let loss = plan.read(&about.metrics[0]).unwrap().data.to_f64()[0];
        let expected = tensors[&format!("{name}/loss")].data.to_f64()[0] * factor;
        assert!(
            (loss / expected - 1.0).abs() < 1e-5,
            "{name}: loss {loss}, PyTorch's {expected}"
        );

        let found = store.read(Flat::Gradients).unwrap();
        compared += gradients::agree(name, &tensors, &layout, &found, about.set).0;
    }
    assert!(compared > 60, "{compared} gradients");
}
