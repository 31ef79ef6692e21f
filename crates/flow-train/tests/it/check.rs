//! Models checked on their own data.

use flow_core::check::Verdict;
use flow_data::{Part, Rows, Spec};
use flow_models::{Model, Preset, preset};
use flow_train::check::{Check, TEMPERATURES};
use flow_train::{Error, Trainer};
use tch::{Device, Kind};

use crate::{tiny, watch};

#[test]
fn trained_models_of_tables_and_images_pass() {
    for (model, spec) in [("nice", Spec::Moons), ("realnvp", Spec::Digits), ("nice", Spec::Iris)] {
        let (config, data) = tiny(model, spec.clone(), &["train.steps=20", "train.batch=20"]);
        let mut trainer = Trainer::new(config, data.clone()).unwrap();
        trainer.run(&mut watch).unwrap();
        let best = trainer.into_best();
        let checked = Check::new(&best, &data.test, Part::Test, 40, 0).unwrap();
        let report = checked.run().unwrap();
        for layer in &report.layers {
            assert_ne!(layer.verdict(), Verdict::Fails, "{model} on {spec}: {layer:?}");
            assert!(layer.log_det.unwrap().error.relative < 1e-9, "{model} on {spec}: {layer:?}");
            assert!(layer.far_log_det.unwrap().error.relative < 1e-9, "{model} on {spec}: {layer:?}");
        }
        assert_ne!(report.verdict(), Verdict::Fails, "{model} on {spec}: {:?}", report.whole.findings);
        assert_eq!(report.rows.len(), 1 + TEMPERATURES.len());
        let rows = data.test.len().min(40);
        assert_eq!(report.latent.as_ref().unwrap().rows, rows);
        assert_eq!(checked.latent().size(), [rows as i64, best.event().iter().product::<usize>() as i64]);
    }
}

#[test]
fn the_same_seed_gives_the_same_report() {
    let (config, data) = tiny("realnvp", Spec::Digits, &[]);
    let model = Trainer::new(config, data.clone()).unwrap().into_best();
    let report = |seed| Check::new(&model, &data.test, Part::Test, 10, seed).unwrap().run().unwrap();
    assert_eq!(report(0), report(0));
    assert_ne!(report(0), report(1));
}

#[test]
fn a_model_in_f64_has_the_same_numbers() {
    let config = preset::nice(Preset::Default, &[2]);
    let model = Model::new(&config, &[2], 3, Device::Cpu).unwrap();
    let double = model.to_double().unwrap();
    for (name, variable) in model.variables() {
        assert_eq!(variable.kind(), Kind::Float, "the model stays as it was");
        let other = &double.variables()[&name];
        assert_eq!((other.kind(), other), (Kind::Double, &variable.to_kind(Kind::Double)), "{name}");
    }
}

#[test]
fn what_cannot_be_checked_is_said() {
    let (config, data) = tiny("nice", Spec::Moons, &[]);
    let model = Trainer::new(config, data.clone()).unwrap().into_best();
    let none = data.test.select(&[]);
    let error = Check::new(&model, &none, Part::Test, 10, 0).unwrap_err();
    assert!(matches!(&error, Error::Config(why) if why.contains("no rows")), "{error}");
    let mut config = model.config().clone();
    if let flow_models::ModelConfig::Nice(nice) = &mut config {
        nice.context = 3;
    }
    let model = Model::new(&config, &[2], 0, Device::Cpu).unwrap();
    assert!(Check::new(&model, &data.test, Part::Test, 10, 0).is_err());
}
