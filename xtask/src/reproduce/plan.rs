//! What there is to do: which models are trained on what, for how long, and which pictures come of it.

use std::path::Path;

use serde::Serialize;

/// Everything that decides how long it takes, in one place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Training steps on 2-D data; the preset's own number if none.
    pub moons_steps: Option<u32>,
    /// Training steps on images; the preset's own number if none.
    pub image_steps: Option<u32>,
    /// Dequantization draws for each test image.
    pub image_draws: u32,
    /// Whether the models are also trained on a fixed set of points.
    pub fixed_points: bool,
}

/// The presets as they are.
pub const FULL: Budget = Budget { moons_steps: None, image_steps: None, image_draws: 10, fixed_points: true };
/// A first look, in about two minutes on two cores.
pub const QUICK: Budget =
    Budget { moons_steps: Some(300), image_steps: Some(300), image_draws: 1, fixed_points: false };

/// How many points the original's training set has.
pub const FIXED_POINTS: u32 = 1_000;
/// A sheet of 15 x 15, as the original's.
pub const SHEET: u32 = 225;
/// The original's; the model's own distribution is 1.
pub const TEMPERATURE: f64 = 0.75;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    Nice,
    RealNvp,
}

impl Model {
    pub const ALL: [Self; 2] = [Self::Nice, Self::RealNvp];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nice => "nice",
            Self::RealNvp => "realnvp",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Nice => "NICE",
            Self::RealNvp => "RealNVP",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Data {
    Moons,
    Mnist,
    Digits,
}

impl Data {
    pub fn name(self) -> &'static str {
        match self {
            Self::Moons => "moons",
            Self::Mnist => "mnist",
            Self::Digits => "digits",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Moons => "moons",
            Self::Mnist => "MNIST",
            Self::Digits => "digits",
        }
    }

    pub fn is_image(self) -> bool {
        self != Self::Moons
    }
}

/// Why a model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// For the pictures and the first rows of the table.
    Gallery,
    /// For a row: the same preset on as few points as the original had.
    FixedPoints,
    /// For a row: the original's nets and budget.
    Seed,
}

/// What the person chose.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    pub device: String,
    pub threads: usize,
    pub seed: u64,
    pub with_seed: bool,
}

/// One model to train, and what to do with it.
#[derive(Debug, Clone)]
pub struct Job {
    /// Also the name of its run folder.
    pub name: String,
    pub model: Model,
    pub data: Data,
    pub purpose: Purpose,
    pub steps: Option<u32>,
    pub draws: u32,
}

/// All jobs in order: the gallery first, two-dimensional data before images, rows without pictures last.
pub fn jobs(budget: Budget, images: Data, choice: &Choice) -> Vec<Job> {
    let job = |purpose, model: Model, data: Data| {
        let suffix = match purpose {
            Purpose::Gallery => String::new(),
            Purpose::FixedPoints => format!("-fixed-{FIXED_POINTS}"),
            Purpose::Seed => "-seed".to_owned(),
        };
        Job {
            name: format!("{}-{}{suffix}", model.name(), data.name()),
            model,
            data,
            purpose,
            steps: if data.is_image() { budget.image_steps } else { budget.moons_steps },
            draws: if data.is_image() { budget.image_draws } else { 1 },
        }
    };
    let both = |purpose, data| Model::ALL.map(|model| job(purpose, model, data));
    let mut jobs = Vec::new();
    jobs.extend(both(Purpose::Gallery, Data::Moons));
    jobs.extend(both(Purpose::Gallery, images));
    if budget.fixed_points {
        jobs.extend(both(Purpose::FixedPoints, Data::Moons));
    }
    if choice.with_seed {
        jobs.extend(both(Purpose::Seed, Data::Moons));
        jobs.extend(both(Purpose::Seed, images));
    }
    jobs
}

/// A picture: the name of its file and what `flow` is asked for; `--out` is added when it is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    pub file: String,
    pub arguments: Vec<String>,
}

impl Job {
    pub fn preset(&self) -> &'static str {
        if self.purpose == Purpose::Seed { "seed" } else { "default" }
    }

    pub fn train_arguments(&self, choice: &Choice, folder: &Path) -> Vec<String> {
        let mut arguments = strings(&["train", self.model.name(), "--data", self.data.name()]);
        arguments.extend(strings(&["--preset", self.preset(), "--seed", &choice.seed.to_string()]));
        arguments.extend(strings(&["--threads", &choice.threads.to_string(), "--device", &choice.device]));
        if let Some(steps) = self.steps {
            arguments.extend(strings(&["--steps", &steps.to_string()]));
        }
        if self.purpose == Purpose::FixedPoints {
            arguments.extend(strings(&["--set", &format!("data.fixed={FIXED_POINTS}")]));
        }
        arguments.extend(["--out".to_owned(), folder.display().to_string()]);
        arguments
    }

    pub fn evaluate_arguments(&self, folder: &Path) -> Vec<String> {
        let (folder, draws) = (folder.display().to_string(), self.draws.to_string());
        strings(&["eval", &folder, "--split", "test", "--draws", &draws, "--json"])
    }

    /// The pictures of this job, none for one that is only a row.
    pub fn figures(&self, choice: &Choice, folder: &Path) -> Vec<Figure> {
        if self.purpose != Purpose::Gallery {
            return Vec::new();
        }
        let folder = folder.display().to_string();
        let figure = |ending: &str, arguments: &[&str]| Figure {
            file: format!("{}_{}{ending}", self.model.name(), self.data.name()),
            arguments: strings(arguments),
        };
        let mut figures = vec![
            figure(".gif", &["animate", &folder]),
            figure("_forward.png", &["trace", &folder, "--direction", "forward"]),
            figure("_inverse.png", &["trace", &folder, "--direction", "inverse"]),
        ];
        if self.data.is_image() {
            let (count, temperature) = (SHEET.to_string(), TEMPERATURE.to_string());
            let seed = choice.seed.to_string();
            let sample = ["sample", &folder, "-n", &count, "--temperature", &temperature, "--seed", &seed];
            figures.push(figure("_samples.png", &sample));
        } else {
            figures.push(figure("_density.png", &["density", &folder]));
        }
        let reference = super::references::line(self.model, self.data).map(|line| format!("--reference={line}"));
        let curve: Vec<&str> = ["curve", &folder].into_iter().chain(reference.as_deref()).collect();
        figures.push(figure("_curve.png", &curve));
        figures
    }
}

fn strings(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|&argument| argument.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::command_line;

    fn names(jobs: &[Job]) -> Vec<&str> {
        jobs.iter().map(|job| job.name.as_str()).collect()
    }

    #[test]
    fn the_gallery_comes_first_and_seed_rows_only_when_asked_for() {
        let plain = jobs(FULL, Data::Mnist, &Choice::default());
        let gallery = ["nice-moons", "realnvp-moons", "nice-mnist", "realnvp-mnist"];
        let fixed = ["nice-moons-fixed-1000", "realnvp-moons-fixed-1000"];
        assert_eq!(names(&plain), [&gallery[..], &fixed].concat());

        let with_seed = jobs(FULL, Data::Mnist, &Choice { with_seed: true, ..Choice::default() });
        let seeds = ["nice-moons-seed", "realnvp-moons-seed", "nice-mnist-seed", "realnvp-mnist-seed"];
        assert_eq!(names(&with_seed)[6..], seeds);

        let quick = jobs(QUICK, Data::Digits, &Choice::default());
        assert_eq!(names(&quick), ["nice-moons", "realnvp-moons", "nice-digits", "realnvp-digits"]);
    }

    #[test]
    fn every_choice_is_in_the_command_line() {
        let choice = Choice { device: "cuda:1".into(), threads: 2, seed: 7, with_seed: true };
        let folder = Path::new("runs/reproduce/x");
        let lines = |budget| {
            let jobs = jobs(budget, Data::Mnist, &choice);
            jobs.iter().map(|job| command_line(job.train_arguments(&choice, folder))).collect::<Vec<_>>()
        };
        let common = "--seed 7 --threads 2 --device cuda:1";
        let full = lines(FULL);
        assert_eq!(full[0], format!("train nice --data moons --preset default {common} --out runs/reproduce/x"));
        assert_eq!(
            full[5],
            format!(
                "train realnvp --data moons --preset default {common} --set data.fixed=1000 --out runs/reproduce/x"
            )
        );
        assert_eq!(full[8], format!("train nice --data mnist --preset seed {common} --out runs/reproduce/x"));
        assert_eq!(
            lines(QUICK)[3],
            format!("train realnvp --data mnist --preset default {common} --steps 300 --out runs/reproduce/x")
        );
    }

    #[test]
    fn pictures_are_named_after_the_data_that_was_used() {
        let choice = Choice::default();
        let jobs = jobs(FULL, Data::Digits, &choice);
        let files = |job: &Job| -> Vec<_> {
            job.figures(&choice, Path::new("run")).into_iter().map(|figure| figure.file).collect()
        };
        let endings = [".gif", "_forward.png", "_inverse.png", "_density.png", "_curve.png"];
        assert_eq!(files(&jobs[0]), endings.map(|ending| format!("nice_moons{ending}")));
        let endings = [".gif", "_forward.png", "_inverse.png", "_samples.png", "_curve.png"];
        assert_eq!(files(&jobs[3]), endings.map(|ending| format!("realnvp_digits{ending}")));
        assert!(files(&jobs[4]).is_empty(), "rows have no pictures");

        let line = |i: usize| command_line(&jobs[2].figures(&choice, Path::new("run"))[i].arguments);
        assert_eq!(line(3), "sample run -n 225 --temperature 0.75 --seed 0");
        assert_eq!(line(4), "curve run", "nothing is published for digits");
        let moons = &jobs[0].figures(&choice, Path::new("run"))[4];
        assert!(moons.arguments[2].starts_with("--reference=-1.0896:"), "{moons:?}");
    }
}
