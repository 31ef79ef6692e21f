//! Peak memory of a training step against depth: on autograd's tape, with what each map's own way back needs kept, and with
//! activations rebuilt. Linux only.
//!
//! ```text
//! cargo run --release -p flow-train --example memory -- [WIDTH] [BATCH]
//! ```

use std::error::Error;
use std::fs;
use std::process::Command;

use flow_core::ToParameters;
use flow_core::rng::with_seed;
use flow_models::{ConvNetConfig, GlowConfig, Head, Model, ModelConfig};
use tch::{Device, Kind, Tensor};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| arguments.get(i).map_or(Ok(default), |text| text.parse());
    let (width, batch) = (number(0, 64)?, number(1, 64)?);
    if let Some(mode) = arguments.get(3) {
        return one(width, batch, number(2, 8)?, mode);
    }
    println!(
        "Glow on 1 x 28 x 28, 2 levels, width {width}, batch {batch}: MiB that a training step takes beside the model"
    );
    println!("{:>14} {:>8} {:>8} {:>8}", "steps a level", "taped", "kept", "rebuilt");
    for depth in [8, 16, 32] {
        // A process each: what an allocator has once taken, it keeps.
        let measured = |mode: &str| -> Result<String, Box<dyn Error>> {
            let numbers = [width, batch, depth].map(|n| n.to_string());
            let output = Command::new(std::env::current_exe()?).args(numbers).arg(mode).output()?;
            Ok(String::from_utf8(output.stdout)?.trim().to_owned())
        };
        println!("{depth:>14} {:>8} {:>8} {:>8}", measured("taped")?, measured("kept")?, measured("rebuilt")?);
    }
    Ok(())
}

/// Prints what one step takes.
fn one(width: usize, batch: usize, depth: usize, mode: &str) -> Result<(), Box<dyn Error>> {
    let net = ConvNetConfig { width, ..ConvNetConfig::default() };
    let head = Head::Logit { alpha: 1e-3 };
    let config = ModelConfig::Glow(GlowConfig { head, depth, net, ..GlowConfig::default() });
    let model = Model::new(&config, &[1, 28, 28], 0, Device::Cpu)?;
    let x = with_seed(0, || Tensor::rand([batch as i64, 784], (Kind::Float, Device::Cpu)));
    // On a few rows, so that gradients and whatever libtorch sets up once are there before anything is measured.
    let few = x.narrow(0, 0, 2);
    let _ = tch::no_grad(|| model.flow().bijection().start_from_data(&few, None));
    let step = |x: &Tensor| match mode {
        "taped" => model.flow().log_prob(x, None).mean(None).neg().backward(),
        "kept" => model.flow().forward_keeping(x, None).backward(&mut ToParameters),
        _ => drop(model.flow().backward_rebuilding(x, None)),
    };
    step(&few);
    println!("{:.0}", peak(|| step(&x))?);
    Ok(())
}

/// By how many MiB the process grows at most while `step` runs.
fn peak(step: impl FnOnce()) -> Result<f64, Box<dyn Error>> {
    // Resets the high-water mark.
    fs::write("/proc/self/clear_refs", "5")?;
    let before = status("VmRSS")?;
    step();
    Ok((status("VmHWM")? - before) / 1024.0)
}

/// A line of /proc/self/status, in KiB.
fn status(name: &str) -> Result<f64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with(name)).ok_or("no such line")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}
