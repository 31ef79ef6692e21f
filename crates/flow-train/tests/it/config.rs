//! Fields are set by name, and what cannot be is refused by name.

use flow_data::{Preprocessing, Spec};
use flow_models::ModelConfig;
use flow_train::{DataConfig, Device, RunConfig, Schedule, Trainer};

use crate::tiny;

fn config() -> RunConfig {
    tiny("nice", Spec::Moons, &["train.rates={}"]).0
}

fn set(assignment: &str) -> RunConfig {
    let mut config = config();
    config.set(assignment).unwrap_or_else(|e| panic!("{e}"));
    config
}

fn refusal(assignment: &str) -> String {
    let mut config = config();
    let before = config.clone();
    let error = config.set(assignment).unwrap_err().to_string();
    assert_eq!(config, before, "{assignment} changes nothing");
    error
}

#[test]
fn fields_of_every_kind() {
    assert_eq!(set("seed=7").seed, 7);
    assert_eq!(set("train.learning_rate=2.5e-4").train.learning_rate, 2.5e-4);
    assert_eq!(set("train.ema=0").train.ema, 0.0);
    assert_eq!(set("train.schedule=constant").train.schedule, Schedule::Constant);
    assert_eq!(set("device=cuda:1").device, Device::Cuda(1));
    assert_eq!(set("data.fixed=1000").data.fixed, 1000);
    assert_eq!(set("data.name=two-moons").data.name, Spec::TwoMoons);
    assert_eq!((set("data.size=64").data.size, set("data.bits=5").data.bits), (64, 5));
    let ModelConfig::Nice(nice) = set("model.conditioner.init={\"uniform\":0.02}").model else { unreachable!() };
    assert_eq!(nice.conditioner.init, flow_models::WeightInit::Uniform(0.02));
    let ModelConfig::Nice(nice) = set("model.base=logistic").model else { unreachable!() };
    assert_eq!(nice.base, flow_models::BaseKind::Logistic);
}

#[test]
fn rates_by_any_prefix_of_a_name() {
    let mut config = set("train.rates.scaling=10");
    config.set("train.rates.coupling_0.layer_1.weight=0.5").unwrap();
    config.set("train.rates.scaling=20").unwrap();
    let rates: Vec<(&str, f64)> = config.train.rates.iter().map(|(name, &rate)| (name.as_str(), rate)).collect();
    assert_eq!(rates, [("coupling_0.layer_1.weight", 0.5), ("scaling", 20.0)]);
    config.set("train.rates={\"scaling\":3}").unwrap();
    assert_eq!(config.train.rates.len(), 1);
    refusal("train.rates.scaling=fast");
}

#[test]
fn unknown_names_are_answered_with_the_known_ones() {
    let error = refusal("train.learning_rat=1");
    assert!(error.contains("\"learning_rat\"") && error.contains("learning_rate, "), "{error}");
    let error = refusal("trian.ema=1");
    assert!(error.contains("\"trian\"") && error.contains("data, device, model"), "{error}");
    let error = refusal("model.conditioner.width=1");
    assert!(error.contains("hidden, init, layers"), "{error}");
    let error = refusal("seed.x=1");
    assert!(error.contains("there are none"), "{error}");
    for text in ["seed", "", "train.ema"] {
        assert!(refusal(text).contains("key=value"));
    }
    refusal("=1");
}

#[test]
fn wrong_types_are_refused_with_the_assignment() {
    for text in [
        "seed=x",
        "seed=-1",
        "train.steps=1.5",
        "train.ema=high",
        "train.schedule=linear",
        "device=gpu",
        "model.kind=glow",
        "data.name=mnits",
        "train={\"step\":1}",
        "model.conditioner.hidden=[1]",
    ] {
        let error = refusal(text);
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    for (text, name) in [
        ("train.batch=0", "train.batch"),
        ("train.steps=2000000000000", "train.steps"),
        ("train.learning_rate=0", "train.learning_rate"),
        ("train.learning_rate=-1", "train.learning_rate"),
        ("train.beta1=1", "train.beta1"),
        ("train.beta2=-0.1", "train.beta2"),
        ("train.epsilon=0", "train.epsilon"),
        ("train.weight_decay=-1", "train.weight_decay"),
        ("train.clip=-1", "train.clip"),
        ("train.ema=1", "train.ema"),
        ("train.rates.scaling=-1", "train.rates"),
        ("train.validate_every=0", "train.validate_every"),
        ("train.save_every=0", "train.save_every"),
        ("train.log_every=0", "train.log_every"),
        ("threads=0", "threads"),
        ("seed=9223372036854775808", "seeds"),
        ("data.seed=9223372036854775808", "seeds"),
        ("data.fixed=1000000000000", "data.fixed"),
        ("data.size=1025", "data.size"),
        ("data.bits=9", "data.bits"),
        ("model.context=3", "model.context"),
    ] {
        let error = set(text).validate().unwrap_err().to_string();
        assert!(error.contains(name), "{text}: {error}");
    }
    let mut config = config();
    config.train.clip = f64::NAN;
    assert!(config.validate().is_err());
}

#[test]
fn the_fields_of_data_can_be_set_before_there_is_a_run() {
    let mut data = DataConfig::new(Spec::Mnist);
    data.set("data.seed=3").unwrap();
    data.set("data.bits=5").unwrap();
    assert_eq!(data, DataConfig { seed: 3, bits: 5, ..DataConfig::new(Spec::Mnist) });
    for text in ["data.bit=5", "train.ema=0", "train.rates.scaling=2", "data.bits=many", "data.bits=256", "data.bits"] {
        let before = data.clone();
        let error = data.set(text).unwrap_err().to_string();
        assert!(error.contains(text.split('=').next().unwrap()) && data == before, "{error}");
    }
}

#[test]
fn configurations_from_before_there_were_bits_are_read() {
    let old = r#"{"name": "mnist", "seed": 1, "fixed": 0}"#;
    let read: DataConfig = serde_json::from_str(old).unwrap();
    assert_eq!(read, DataConfig { seed: 1, ..DataConfig::new(Spec::Mnist) });
    assert!(serde_json::from_str::<DataConfig>(r#"{"name": "mnist", "seed": 1, "fixed": 0, "bit": 5}"#).is_err());
}

#[test]
fn size_and_bits_are_those_of_the_images() {
    let images = |levels| Preprocessing::Levels { levels, height: 64, width: 64, channels: 3 };
    let of = |name: &str, levels| {
        let data = DataConfig::new(name.parse().unwrap()).of_images(&images(levels));
        (data.size, data.bits)
    };
    assert_eq!(of("images:a", 32), (64, 5));
    assert_eq!(of("images:a", 256), (64, 0));
    assert_eq!(of("cifar10", 2), (0, 1));
    assert_eq!(of("digits", 17), (0, 0));
}

#[test]
fn data_of_fewer_bits_are_loaded_as_configured() {
    let mut data = DataConfig::new(Spec::Digits);
    assert_eq!(data.load().unwrap().preprocessing.levels(), Some(17));
    data.bits = 4;
    assert!(data.load().unwrap_err().to_string().contains("17 levels"));
}

/// A model file says of its data what whoever made it wanted.
#[test]
fn data_of_no_sensible_size_are_refused_before_any_are_drawn() {
    let of = |change: &dyn Fn(&mut DataConfig)| {
        let mut data = DataConfig::new(Spec::Moons);
        change(&mut data);
        data.load().unwrap_err().to_string()
    };
    assert!(of(&|data| data.fixed = usize::MAX).contains("data.fixed"));
    assert!(of(&|data| data.fixed = (1 << 26) + 1).contains("data.fixed"));
    assert!(of(&|data| data.size = usize::MAX).contains("data.size"));
    assert!(of(&|data| data.bits = 255).contains("data.bits"));
}

#[test]
fn the_file_to_read_says_what_was_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let fields = ["train.rates.coupling_0.out=0.125", "train.learning_rate=0.0012300000000000002", "data.fixed=30"];
    let (config, data) = tiny("realnvp", Spec::Moons, &fields);
    Trainer::new(config.clone(), data).unwrap().keep_in(dir.path()).unwrap();
    let text = std::fs::read_to_string(dir.path().join("config.toml")).unwrap();
    assert_eq!(toml::from_str::<RunConfig>(&text).unwrap(), config);
    assert_eq!(*Trainer::resume(dir.path()).unwrap().config(), config);
}

#[test]
fn data_other_than_the_configuration_says_are_refused() {
    let refusal = |fields: &[&str], given: &str| {
        let (config, _) = tiny("nice", Spec::Moons, fields);
        let data = tiny("nice", given.parse().unwrap(), &[]).1;
        Trainer::new(config, data).unwrap_err().to_string()
    };
    assert!(refusal(&[], "circles").contains("data.name"));
    assert!(refusal(&["data.fixed=10"], "moons").contains("data.fixed"));
}

#[test]
fn a_model_that_no_machine_holds_is_refused_before_it_is_built() {
    let (mut config, data) = tiny("nice", Spec::Moons, &[]);
    config.device = Device::Cpu;
    for field in ["model.conditioner.hidden=65536", "model.conditioner.layers=256", "model.couplings=1024"] {
        config.set(field).unwrap();
    }
    let error = Trainer::new(config, data).map(drop).unwrap_err().to_string();
    assert!(error.contains("nice of events [2] has ") && error.contains("GiB"), "{error}");
}
