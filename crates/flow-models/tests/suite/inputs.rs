//! What a model does not take is an error that says why; what it takes is answered as by the flow itself.

use flow_models::{Error, Head, Model, ModelConfig, NiceConfig};
use tch::{Device, Kind, Tensor};

use crate::common::{batch, randomised, zoo};

const CPU: Device = Device::Cpu;

#[test]
fn it_answers_as_its_flow_does() {
    for case in zoo() {
        let model = randomised(&case.config, &case.event);
        let (x, context) = batch(&model, 4);
        let (flow, context) = (model.flow(), context.as_ref());
        let log_prob = model.log_prob(&x, context).unwrap();
        assert_eq!(log_prob, tch::no_grad(|| flow.log_prob(&x, context)), "{}", case.name);
        assert!(!log_prob.requires_grad());
        assert_eq!(model.sample(4, 0.5, 3, context).unwrap(), flow.sample(4, 0.5, 3, context), "{}", case.name);
    }
}

fn model(context: usize) -> Model {
    let config = NiceConfig { couplings: 1, head: Head::None, context, ..NiceConfig::default() };
    Model::new(&ModelConfig::Nice(config), &[3], 0, CPU).unwrap()
}

fn ones(size: &[i64], kind: Kind) -> Tensor {
    Tensor::ones(size, (kind, CPU))
}

#[test]
fn what_it_does_not_take_is_said() {
    let (plain, conditional) = (model(0), model(2));
    let x = ones(&[4, 3], Kind::Float);
    let context = |size: &[i64]| ones(size, Kind::Float);
    let says = |result: Result<Tensor, Error>, reason: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Input(_)), "{error:?}");
        assert!(error.to_string().contains(reason), "{error} should say {reason:?}");
    };
    says(plain.log_prob(&ones(&[4, 2], Kind::Float), None), "the batch is [4, 2], the model takes [n, 3]");
    says(plain.log_prob(&ones(&[3], Kind::Float), None), "the batch is [3]");
    says(plain.log_prob(&ones(&[], Kind::Float), None), "the batch is []");
    says(plain.log_prob(&ones(&[4, 3], Kind::Double), None), "of kind Double, the model of kind Float");
    says(plain.log_prob(&ones(&[4, 3], Kind::Uint8), None), "of kind Uint8");
    says(plain.log_prob(&x, Some(&context(&[4, 2]))), "the model has no context");
    says(conditional.log_prob(&x, None), "wants a context [n, 2]");
    says(conditional.log_prob(&x, Some(&context(&[4, 3]))), "the context is [4, 3], the model takes [n, 2]");
    says(conditional.log_prob(&x, Some(&context(&[1, 2]))), "the context has 1 rows, 4 are wanted");
    says(conditional.sample(5, 1.0, 0, Some(&context(&[4, 2]))), "the context has 4 rows, 5 are wanted");
    says(plain.sample(5, 1.0, 0, Some(&context(&[5, 2]))), "the model has no context");
    for temperature in [-0.1, f64::NAN, f64::INFINITY] {
        says(plain.sample(5, temperature, 0, None), "a temperature");
    }
    let mut double = model(0);
    double.vs_mut().double();
    says(double.sample(5, 1.0, 0, None), "Double");
    says(double.log_prob(&x, None), "of kind Float, the model of kind Double");
    assert_eq!(double.log_prob(&ones(&[4, 3], Kind::Double), None).unwrap().kind(), Kind::Double);
    assert_eq!(plain.log_prob(&ones(&[0, 3], Kind::Float), None).unwrap().size(), [0]);
    assert_eq!(plain.sample(0, 1.0, 0, None).unwrap().size(), [0, 3]);
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let plain = model(0);
    let card = flow_models::ModelCard::new(&plain, serde_json::Value::Null, 0, serde_json::Value::Null);
    flow_models::file::save(&path, &plain.variables(), &card).unwrap();
    // No machine has as many.
    let far = Device::Cuda(1_000);
    let built = Model::new(plain.config(), &[3], 0, far).map(drop).unwrap_err().to_string();
    let loaded = flow_models::file::load(&path, far).map(drop).unwrap_err().to_string();
    for error in [built, loaded] {
        assert!(error.contains("no device Cuda(1000)"), "{error}");
    }
}
