//! However a step finds its gradients, it is the same step.

use flow_data::Spec;
use flow_train::Trainer;
use flow_train::batches::DeviceRows;
use flow_train::evaluate::{Mean, log_probs};
use tch::Tensor;

use crate::{device, tiny, watch};

/// The parameters after ten steps.
fn trained(model: &str, fields: &[&str]) -> Tensor {
    let common = [
        "train.steps=10",
        "train.batch=50",
        "train.weight_decay=0.1",
        "model.conditioner.hidden=80",
        "model.conditioner.layers=2",
        "model.conditioner.dropout=0",
        // Biases that are not 0, as they are at the usual start: a way that forgot them would go the same way for ten steps.
        "model.conditioner.init={\"uniform\":0.1}",
    ];
    let (config, data) = tiny(model, Spec::Digits, &[&common, fields].concat());
    let mut trainer = Trainer::new(config, data).unwrap();
    trainer.run(&mut watch).unwrap();
    let parameters: Vec<Tensor> =
        trainer.model().variables().into_values().map(|v| v.detach().flatten(0, -1)).collect();
    Tensor::cat(&parameters, 0)
}

#[test]
fn map_by_map_on_a_tape_or_rebuilt_and_with_each_weights_step_taken_at_once_or_at_the_end() {
    for model in ["nice", "realnvp"] {
        let start = trained(model, &["train.steps=0"]);
        let at_once = trained(model, &[]);
        assert!((&at_once - start).abs().max().double_value(&[]) > 1e-3, "{model}: nothing was trained");
        // A bound that no gradient reaches asks for the norm all the same.
        for other in ["train.clip=1e30", "train.taped=true", "train.rebuild=true"] {
            let off = (&at_once - trained(model, &[other])).abs();
            let (mean, most) = (off.mean(None).double_value(&[]), off.max().double_value(&[]));
            // On a GPU the ways have kernels of their own, and Adam makes a whole step of a gradient that should be 0.
            let bound = if device().is_cuda() { 1e-2 } else { 2e-4 };
            assert!(mean < 2e-5 && most < bound, "{model}, {other}: {most:e}, in the mean {mean:e}");
        }
    }
}

/// On the processor nothing is recorded, and the switch changes nothing; on a GPU (`FLOW_TEST_DEVICE=cuda`) it must not either.
#[test]
fn recorded_or_not_a_step_is_the_same_to_the_bit() {
    for (model, field) in [
        ("nice", "train.weight_decay=0.2"),
        ("realnvp", "train.clip=1e-3"),
        ("realnvp", "model.conditioner.dropout=0.2"),
        ("nice", "train.precision=bf16"),
    ] {
        let [recorded, plain] = ["true", "false"].map(|on| trained(model, &[field, &format!("train.graphs={on}")]));
        assert!(recorded == plain, "{model}, {field}: {:e}", (recorded - plain).abs().max().double_value(&[]));
    }
}

/// Half of a percent of the likelihood of the test split is what the precision may cost.
#[test]
fn products_in_bf16_train_as_well() {
    for model in ["nice", "realnvp"] {
        let best = |precision: &str| {
            let fields = [
                "train.steps=60",
                "train.batch=100",
                "train.validate_every=20",
                "model.conditioner.hidden=64",
                precision,
            ];
            let (config, data) = tiny(model, Spec::Digits, &fields);
            let test = DeviceRows::new(&data.test, device());
            let mut trainer = Trainer::new(config, data).unwrap();
            trainer.run(&mut watch).unwrap();
            Mean::of(&log_probs(trainer.into_best().flow(), &test, 1, 0)).mean
        };
        let (exact, rounded) = (best("train.precision=f32"), best("train.precision=bf16"));
        assert_ne!(exact, rounded, "{model}: nothing was rounded");
        assert!((rounded / exact - 1.0).abs() < 5e-3, "{model}: {rounded} nats in bf16, {exact} in f32");
    }
}
