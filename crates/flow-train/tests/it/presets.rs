//! Every ready configuration is sound and builds, for each model on each kind of data.

use flow_data::{DataSet, LoadOptions, Preprocessing, Source, Spec, Split, Values};
use flow_models::{Head, Model, Preset};
use flow_train::{Error, MODELS, RunConfig};
use ndarray::Array2;
use tch::{Device, Kind, Tensor};

/// Black images of MNIST's shape and number.
fn like_mnist() -> DataSet {
    let split = |rows| {
        let data = Array2::zeros((rows, 784));
        Split::new(Values::Levels { data, levels: 256 }, vec![1, 28, 28], None).unwrap()
    };
    DataSet {
        spec: Spec::Mnist,
        event_shape: vec![1, 28, 28],
        preprocessing: Preprocessing::Levels { levels: 256, height: 28, width: 28, channels: 1 },
        train: Source::Fixed(split(50_000)),
        validation: split(1),
        test: split(1),
        notes: Vec::new(),
    }
}

fn check(spec: &Spec, data: &DataSet) {
    for name in MODELS {
        for preset in Preset::ALL {
            let multiscale = name == "glow" || name == "realnvp-image";
            let refused =
                multiscale && preset == Preset::Seed || name == "realnvp-image" && data.event_shape.len() != 3;
            if refused {
                assert!(matches!(RunConfig::preset(name, preset, spec.clone(), data), Err(Error::Config(_))));
                continue;
            }
            let config = RunConfig::preset(name, preset, spec.clone(), data).unwrap();
            let what = format!("{name} {preset} on {spec}");
            config.validate().unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(config.train.steps > 0 && config.train.validate_every <= config.train.steps, "{what}");
            assert_eq!((config.model.name(), config.preset), (name, preset));

            let text = toml::to_string_pretty(&config).unwrap();
            assert_eq!(toml::from_str::<RunConfig>(&text).unwrap(), config, "{what}");
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<RunConfig>(&json).unwrap(), config, "{what}");

            let model = Model::new(&config.model, &data.event_shape, 0, Device::Cpu);
            let model = model.unwrap_or_else(|e| panic!("{what}: {e}"));
            let middle = Tensor::full([1, data.dim() as i64], 0.5, (Kind::Float, Device::Cpu));
            let log_prob = tch::no_grad(|| model.flow().log_prob(&middle, None));
            assert!(log_prob.double_value(&[0]).is_finite(), "{what}");
            // Names in `rates` are those of variables.
            for prefix in config.train.rates.keys() {
                assert!(model.variables().keys().any(|name| name.starts_with(prefix)), "{what}: {prefix}");
            }
        }
    }
}

#[test]
fn on_toys_tables_and_digits() {
    for spec in
        [Spec::Moons, Spec::TwoMoons, Spec::Circles, Spec::Digits, Spec::Iris, Spec::WineQuality, Spec::Diabetes]
    {
        check(&spec, &flow_data::load(&spec, &LoadOptions::default()).unwrap());
    }
}

#[test]
fn on_images_of_784_pixels() {
    check(&Spec::Mnist, &like_mnist());
}

#[test]
fn tables_begin_with_their_standardisation() {
    let data = flow_data::load(&Spec::Iris, &LoadOptions::default()).unwrap();
    let Preprocessing::Table { mean, std, .. } = data.preprocessing.clone() else { unreachable!() };
    let mut config = RunConfig::preset("nice", Preset::Default, Spec::Iris, &data).unwrap();
    assert_eq!(*config.model.head_mut(), Head::Standardize { mean, std });
}

#[test]
fn fixed_points_stay_fixed() {
    let data = flow_data::load(&Spec::Moons, &LoadOptions { fixed: Some(50), ..LoadOptions::default() }).unwrap();
    let config = RunConfig::preset("nice", Preset::Seed, Spec::Moons, &data).unwrap();
    assert_eq!(config.data.fixed, 50);
    assert_eq!(config.data.load().unwrap().train.rows(), Some(50));
}

#[test]
fn no_other_model_has_one() {
    let data = flow_data::load(&Spec::Iris, &LoadOptions::default()).unwrap();
    let error = RunConfig::preset("planar", Preset::Default, Spec::Iris, &data).unwrap_err();
    assert!(matches!(&error, Error::Config(why) if why.contains("nice, realnvp, glow, realnvp-image")), "{error}");
}
