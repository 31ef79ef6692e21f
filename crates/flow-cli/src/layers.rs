//! The states that a batch goes through, one by one.

use std::collections::BTreeSet;

use flow_core::Flow;
use ndarray::{Array2, Array4, s};
use tch::Tensor;

use crate::arrays::matrix;

/// A state, named after the layer that led to it.
pub struct State {
    pub name: String,
    /// `[n, D]`.
    pub rows: Array2<f32>,
}

/// What a batch looks like on its way: as many states as can be looked at, of so many.
pub struct Walk {
    pub states: Vec<State>,
    /// How many there were before some were left out.
    pub layers: usize,
}

/// Data to latent: the data itself first. `most` states are kept.
pub fn forward(flow: &Flow, x: &Tensor, context: Option<&Tensor>, most: usize) -> Walk {
    let states = collect(["data", "latent"], x, |probe| {
        let _ = tch::no_grad(|| flow.trace_forward(x, context, probe));
    });
    thinned(states, most)
}

/// Latent to data: the latent first, the data last. `most` states are kept.
pub fn inverse(flow: &Flow, z: &Tensor, context: Option<&Tensor>, most: usize) -> Walk {
    let states = collect(["latent", "data"], z, |probe| {
        let _ = tch::no_grad(|| flow.trace_inverse(z, context, probe));
    });
    thinned(states, most)
}

/// One state a step: of a step's parts (Glow's ActNorm, mixing, coupling) the one that comes last on the way.
fn collect([first, last]: [&str; 2], start: &Tensor, run: impl FnOnce(&mut dyn flow_core::Probe)) -> Vec<State> {
    let mut states = vec![State { name: first.to_owned(), rows: matrix(start) }];
    run(&mut |name: &str, value: &Tensor, _: &Tensor| {
        let name = step_of(name);
        if states.len() > 1 && states.last().is_some_and(|state| state.name == name) {
            states.pop();
        }
        states.push(State { name: name.to_owned(), rows: matrix(value) });
    });
    if let [_, .., end] = &mut states[..] {
        end.name = format!("{}, {last}", end.name);
    }
    states
}

/// `level_0.step_3` of `level_0.step_3.mix`: what a layer is a part of, where that is a step.
fn step_of(name: &str) -> &str {
    let is_step = |name: &str| {
        let last = name.rsplit('.').next().unwrap_or(name);
        ["step_", "checker_", "channel_"].iter().any(|kind| last.starts_with(kind))
    };
    match name.rsplit_once('.') {
        Some((step, _)) if is_step(step) => step,
        _ => name,
    }
}

/// At most `most` states, two or more: the first, the last, where there is room those that come once in a level (the
/// head, the priors), and steps as evenly as can be.
fn thinned(states: Vec<State>, most: usize) -> Walk {
    let layers = states.len();
    let kept = kept(&states.iter().map(|state| state.name.as_str()).collect::<Vec<_>>(), most);
    let states = states.into_iter().enumerate().filter(|(i, _)| kept.contains(i)).map(|(_, state)| state);
    let states = states.map(|state| State { name: state.name.replace('_', " "), ..state }).collect();
    Walk { states, layers }
}

fn kept(names: &[&str], most: usize) -> BTreeSet<usize> {
    if names.len() <= most {
        return (0..names.len()).collect();
    }
    let ends = [0, names.len() - 1];
    let once = (0..names.len()).filter(|&i| ends.contains(&i) || !names[i].ends_with(|c: char| c.is_ascii_digit()));
    let mut kept: BTreeSet<usize> = once.collect();
    if kept.len() > most / 2 {
        kept = ends.into();
    }
    let others: Vec<usize> = (0..names.len()).filter(|i| !kept.contains(i)).collect();
    let room = most - kept.len();
    kept.extend((0..room).map(|i| others[(2 * i + 1) * others.len() / (2 * room)]));
    kept
}

impl Walk {
    /// What was left out, to be said in a caption; nothing where nothing was.
    pub fn note(&self) -> String {
        match self.states.len() {
            shown if shown < self.layers => format!(", {shown} of {} layers", self.layers),
            _ => String::new(),
        }
    }
}

impl State {
    /// The first two columns, `[n, 2]`.
    pub fn plane(&self) -> Array2<f32> {
        self.rows.slice(s![.., ..2]).to_owned()
    }

    /// All three channels of a picture in colour, else the first, `[n, c, h, w]`.
    pub fn images(&self, [channels, height, width]: [usize; 3]) -> Array4<f32> {
        let shown = if channels == 3 { 3 } else { 1 };
        let rows = self.rows.slice(s![.., ..shown * height * width]).to_owned();
        rows.into_shape_with_order((self.rows.nrows(), shown, height, width)).expect("c * h * w columns")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_step_belong_together() {
        assert_eq!(step_of("level_0.step_3.mix"), "level_0.step_3");
        assert_eq!(step_of("step_3.mix"), "step_3");
        assert_eq!(step_of("level_1.checker_0.coupling"), "level_1.checker_0");
        assert_eq!(step_of("level_1.channel_0.batchnorm"), "level_1.channel_0");
        for whole in ["logit", "level_0.prior", "coupling_3", "reverse_0"] {
            assert_eq!(step_of(whole), whole);
        }
    }

    #[test]
    fn many_layers_are_thinned_out_evenly_between_first_and_last() {
        let steps = (0..40).map(|i| format!("level_0.step_{i}"));
        let all: Vec<String> = ["data".to_owned(), "logit".to_owned()]
            .into_iter()
            .chain(steps)
            .chain(["level_0.prior".to_owned(), "level_1.step_0".to_owned()])
            .collect();
        let names: Vec<&str> = all.iter().map(String::as_str).collect();
        let kept: Vec<usize> = kept(&names, 16).into_iter().collect();
        assert_eq!((kept.len(), kept[0], kept[15]), (16, 0, 43));
        // Head and prior are there, and no gap is much wider than another.
        assert!(kept.contains(&1) && kept.contains(&42));
        assert!(kept.windows(2).all(|pair| pair[1] - pair[0] <= 4), "{kept:?}");
    }

    #[test]
    fn any_number_is_kept_exactly() {
        let all: Vec<String> = (0..30).map(|i| if i % 3 == 0 { "prior".into() } else { format!("step_{i}") }).collect();
        let names: Vec<&str> = all.iter().map(String::as_str).collect();
        for most in 2..40 {
            let kept = kept(&names, most);
            assert_eq!(kept.len(), most.min(30));
            assert!(kept.contains(&0) && kept.contains(&29));
        }
    }
}
