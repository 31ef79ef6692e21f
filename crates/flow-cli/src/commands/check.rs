//! `flow check`: whether a model is what it claims to be, layer by layer.

use std::process::ExitCode;

use anyhow::bail;
use flow_core::Base;
use flow_core::check::{Report, Verdict};
use flow_train::check::Check;
use flow_viz::{CheckConfig, LayerErrors, Marginal, check};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::args::CheckArgs;
use crate::arrays::matrix;
use crate::check_report::{as_json, as_text, largest};
use crate::loaded::Loaded;
use crate::output;

pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    if let Some(out) = &args.out {
        output::place(out, &["png"])?;
    }
    let loaded = Loaded::open(&args.model)?;
    let data = loaded.data_set()?;
    let Some(split) = data.split(args.split) else {
        bail!("{} draws its training points afresh: there is no {} split to check on", data.spec, args.split);
    };
    let checked = Check::new(&loaded.model, split, args.split, args.number as usize, args.seed)?;
    let report = checked.run()?;
    if args.json {
        let mut object = as_json(&report);
        object["model"] = json!(loaded.card.model.name());
        object["data"] = json!(loaded.data.name);
        object["split"] = json!(args.split.to_string());
        object["seed"] = json!(args.seed);
        object["out"] = json!(args.out.as_deref().map(output::path_text));
        output::print_json(&object)?;
    } else {
        output::print(&as_text(&loaded.title(), &report))?;
    }
    // Last, so that what was computed is known even where it cannot be drawn or written.
    if let Some(out) = &args.out {
        output::write(out, &picture(&loaded, &checked, &report)?)?;
    }
    Ok(if report.verdict() == Verdict::Fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Errors by layer, and how the latent is distributed: coordinate by coordinate where there are few, else all together and
/// those that are farthest from the base.
fn picture(loaded: &Loaded, checked: &Check, report: &Report) -> anyhow::Result<Vec<u8>> {
    let layers: Vec<LayerErrors> = largest(report)
        .into_iter()
        .map(|line| LayerErrors {
            name: line.name,
            single: line.single,
            double: line.double,
            log_det: line.log_det,
            verdict: line.verdict.name().to_owned(),
        })
        .collect();
    let config = CheckConfig { title: format!("{}: flow check", loaded.title()), ..CheckConfig::default() };
    Ok(check(&layers, &marginals(checked, report), &config)?)
}

/// Panels of the latent in a figure.
const PANELS: usize = 3;

fn marginals(checked: &Check, report: &Report) -> Vec<Marginal> {
    let Some(latent) = &report.latent else { return Vec::new() };
    let z = matrix(&checked.latent());
    let base = density(checked.base());
    let of = |name: String, values: Vec<f64>| Marginal { name, values, base: base.clone() };
    let column = |i: usize| {
        let name = format!("coordinate {}, distance {:.3}", i + 1, latent.coordinates[i].distance);
        of(name, z.column(i).iter().map(|&v| f64::from(v)).collect())
    };
    if z.ncols() <= PANELS {
        return (0..z.ncols()).map(column).collect();
    }
    let all = of(format!("all {} coordinates", z.ncols()), z.iter().map(|&v| f64::from(v)).collect());
    let farthest = latent.farthest().into_iter().take(PANELS - 1).map(column);
    std::iter::once(all).chain(farthest).collect()
}

/// Points of the density of a coordinate of `base`, out to 5 standard deviations.
fn density(base: &dyn Base) -> Vec<(f64, f64)> {
    let reach = 5.0 * base.variance().sqrt();
    let z = Tensor::linspace(-reach, reach, 241, (Kind::Double, Device::Cpu));
    let near = 1e-4;
    let density = (base.cdf(&(&z + near)) - base.cdf(&(&z - near))) / (2.0 * near);
    let numbers = |t: &Tensor| Vec::<f64>::try_from(t).expect("a vector of f64");
    numbers(&z).into_iter().zip(numbers(&density)).collect()
}
