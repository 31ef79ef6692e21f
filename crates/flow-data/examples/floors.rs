//! Prints what is in a data set, and for a toy how far the simplest model stays above its floor.
//!
//! ```text
//! cargo run --release -p flow-data --example floors            # the three toys
//! cargo run --release -p flow-data --example floors digits csv:my.csv
//! ```

use std::f64::consts::TAU;

use anyhow::Result;
use flow_data::{DataSet, LoadOptions, Rows, Toy, load};
use ndarray::{Array1, ArrayView2, Axis};

fn main() -> Result<()> {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        names = Toy::ALL.map(|toy| toy.to_string()).to_vec();
    }
    for name in names {
        let data = load(&name.parse()?, &LoadOptions::default())?;
        data.notes.iter().for_each(|note| eprintln!("{note}"));
        summarise(&data);
        if let Some(toy) = data.toy() {
            compare(toy, data.test.to_reals().view());
        }
    }
    Ok(())
}

fn summarise(data: &DataSet) {
    let train = data.train.rows().map_or("fresh draws".into(), |rows| format!("{rows} rows"));
    println!("{}: event shape {:?}, training {train}", data.spec, data.event_shape);
    println!("  validation {} rows, test {} rows", data.validation.len(), data.test.len());
    println!("  the first test row: {}", data.test.values().gather(&[0]).to_reals().row(0));
}

/// The distance to the floor is paired: both likelihoods at the same points, so that most of the sampling error cancels.
fn compare(toy: Toy, points: ArrayView2<'_, f32>) {
    let floor = toy.entropy();
    let above = toy.log_prob(points) - standard_normal(points);
    let error = above.std(1.0) / (above.len() as f64).sqrt();
    let mean = above.mean().unwrap_or(f64::NAN);
    println!("  floor {floor:.4} nats; a standard normal is {mean:.4} ± {error:.4} nats above it");
}

/// ln N(x; 0, I) of each row.
fn standard_normal(points: ArrayView2<'_, f32>) -> Array1<f64> {
    points.map_axis(Axis(1), |x| -0.5 * x.iter().map(|&x| f64::from(x).powi(2) + TAU.ln()).sum::<f64>())
}
