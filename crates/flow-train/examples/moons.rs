//! Trains a RealNVP on the moons, whose entropy is known, and says how far above it the model ends.
//!
//! `cargo run --release -p flow-train --example moons -- nice train.steps=1000 data.fixed=1000`

use std::ops::ControlFlow;

use flow_data::{LoadOptions, Part, Spec};
use flow_models::Preset;
use flow_train::{Event, RunConfig, Trainer, evaluate::evaluate};

fn main() -> anyhow::Result<()> {
    let data = flow_data::load(&Spec::Moons, &LoadOptions::default())?;
    let model = std::env::args().nth(1).unwrap_or_else(|| "realnvp".to_owned());
    let mut config = RunConfig::preset(&model, Preset::Default, Spec::Moons, &data)?;
    for assignment in std::env::args().skip(2) {
        config.set(&assignment)?;
    }
    let data = config.data.load()?;

    let mut trainer = Trainer::new(config, data.clone())?;
    trainer.run(&mut |event: &Event| {
        if let Event::Validated { step, nats, seconds, .. } = event {
            println!("step {step:5}  validation {:.4} nats below 0  {seconds:.1} s", -nats);
        }
        ControlFlow::Continue(())
    })?;

    let model = trainer.into_best();
    let reached = evaluate(model.flow(), 0, &data.test, Part::Test, data.toy(), 1, 0)?;
    println!("test: {:.4} ± {:.4} nats", -reached.nats.mean, reached.nats.se);
    if let Some(floor) = reached.floor {
        println!("floor {:.4}, above it {:.4} ± {:.4}", floor.nats, floor.gap, floor.gap_se);
    }
    Ok(())
}
