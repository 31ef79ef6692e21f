//! What there is to do: which models are trained on what, for how long, and which pictures come of it.

use std::path::Path;

use serde::Serialize;

/// Everything that decides how long it takes, in one place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Training steps on 2-D data; the preset's own number if none.
    pub moons_steps: Option<u32>,
    /// Training steps of the fully connected models on images; the preset's own number if none.
    pub image_steps: Option<u32>,
    /// Training steps of the convolutional models, whose steps are dearer; the preset's own number if none.
    pub convolutional_steps: Option<u32>,
    /// Dequantization draws for each test image.
    pub image_draws: u32,
    /// The same for a class-conditional model that is told the class.
    pub class_draws: u32,
    /// Whether each test image of MNIST is tried with every class, three times, a minute each.
    pub every_class: bool,
    /// Whether the models are also trained on a fixed set of points.
    pub fixed_points: bool,
}

/// The presets as they are.
pub const FULL: Budget = Budget {
    moons_steps: None,
    image_steps: None,
    convolutional_steps: None,
    image_draws: 10,
    class_draws: 3,
    every_class: true,
    fixed_points: true,
};
/// A first look, in a few minutes on two cores.
pub const QUICK: Budget = Budget {
    moons_steps: Some(300),
    image_steps: Some(300),
    convolutional_steps: Some(60),
    image_draws: 1,
    class_draws: 1,
    every_class: false,
    fixed_points: false,
};

/// How many points the original's training set has.
pub const FIXED_POINTS: u32 = 1_000;
/// A sheet of 15 x 15, as the original's.
pub const SHEET: u32 = 225;
/// The original's; the model's own distribution is 1.
pub const TEMPERATURE: f64 = 0.75;
/// Of the digits.
pub const CLASSES: u32 = 10;
/// How many pairs of test images are interpolated.
pub const PAIRS: u32 = 8;
/// The digit an attribute is taken from, and the one it is taken to.
pub const FROM_TO: [u32; 2] = [3, 8];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    Nice,
    RealNvp,
    #[serde(rename = "realnvp-image")]
    RealNvpImage,
    Glow,
}

impl Model {
    /// Those the original has.
    pub const ORIGINAL: [Self; 2] = [Self::Nice, Self::RealNvp];
    /// Those that take vectors.
    pub const ON_POINTS: [Self; 3] = [Self::Nice, Self::RealNvp, Self::Glow];
    /// Those that take images.
    pub const ON_IMAGES: [Self; 4] = [Self::Nice, Self::RealNvp, Self::RealNvpImage, Self::Glow];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nice => "nice",
            Self::RealNvp => "realnvp",
            Self::RealNvpImage => "realnvp-image",
            Self::Glow => "glow",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Nice => "NICE",
            Self::RealNvp => "RealNVP",
            Self::RealNvpImage => "RealNVP, multi-scale",
            Self::Glow => "Glow",
        }
    }

    /// Whether it sees an image as an image, not as a row of numbers.
    pub fn is_convolutional(self, data: Data) -> bool {
        data.is_image() && matches!(self, Self::RealNvpImage | Self::Glow)
    }

    /// How many classes it is conditioned on.
    fn classes(self, data: Data) -> Option<u32> {
        (data.is_image() && self == Self::Glow).then_some(CLASSES)
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

impl Choice {
    /// Where a command of `flow` computes: as the page says, whatever it would do by itself.
    fn place(&self) -> Vec<String> {
        strings(&["--threads", &self.threads.to_string(), "--device", &self.device])
    }

    /// The same, and what its randomness is drawn from.
    fn seed_and_place(&self) -> Vec<String> {
        [strings(&["--seed", &self.seed.to_string()]), self.place()].concat()
    }
}

/// One model to train, and what to do with it.
#[derive(Debug, Clone)]
pub struct Job {
    /// Also the name of its run folder.
    pub name: String,
    pub model: Model,
    pub data: Data,
    pub purpose: Purpose,
    pub preset: &'static str,
    /// Of a class-conditional model.
    pub classes: Option<u32>,
    /// Whether what takes a pass for every class and test image is done with it.
    pub every_class: bool,
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
            preset: match purpose {
                Purpose::Seed => "seed",
                // What `default` asks of these takes hours without a GPU. What `auto` will find is not known here.
                _ if model.is_convolutional(data) && !choice.device.starts_with("cuda") => "cpu",
                _ => "default",
            },
            classes: model.classes(data),
            // Test images of the digits are so few that it takes no time.
            every_class: model.classes(data).is_some() && (budget.every_class || data == Data::Digits),
            steps: match data.is_image() {
                true if model.is_convolutional(data) => budget.convolutional_steps,
                true => budget.image_steps,
                false => budget.moons_steps,
            },
            draws: match data.is_image() {
                true if model.classes(data).is_some() => budget.class_draws,
                true => budget.image_draws,
                false => 1,
            },
        }
    };
    let mut jobs = Vec::new();
    let mut add = |purpose, data, models: &[Model]| jobs.extend(models.iter().map(|&model| job(purpose, model, data)));
    add(Purpose::Gallery, Data::Moons, &Model::ON_POINTS);
    add(Purpose::Gallery, images, &Model::ON_IMAGES);
    if budget.fixed_points {
        add(Purpose::FixedPoints, Data::Moons, &Model::ON_POINTS);
    }
    if choice.with_seed {
        add(Purpose::Seed, Data::Moons, &Model::ORIGINAL);
        add(Purpose::Seed, images, &Model::ORIGINAL);
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
    pub fn train_arguments(&self, choice: &Choice, folder: &Path) -> Vec<String> {
        let mut arguments = strings(&["train", self.model.name(), "--data", self.data.name()]);
        arguments.extend(strings(&["--preset", self.preset]));
        arguments.extend(choice.seed_and_place());
        if let Some(steps) = self.steps {
            arguments.extend(strings(&["--steps", &steps.to_string()]));
        }
        if let Some(classes) = self.classes {
            arguments.extend(strings(&["--set", &format!("model.classes={classes}")]));
        }
        if self.purpose == Purpose::FixedPoints {
            arguments.extend(strings(&["--set", &format!("data.fixed={FIXED_POINTS}")]));
        }
        arguments.extend(["--out".to_owned(), folder.display().to_string()]);
        arguments
    }

    pub fn evaluate_arguments(&self, choice: &Choice, folder: &Path) -> Vec<String> {
        let (folder, draws) = (folder.display().to_string(), self.draws.to_string());
        let mut arguments = strings(&["eval", &folder, "--split", "test", "--draws", &draws, "--json"]);
        if self.classes.is_some() && !self.every_class {
            arguments.push("--no-marginal".to_owned());
        }
        arguments.extend(choice.seed_and_place());
        arguments
    }

    /// The pictures of this job, none for one that is only a row.
    pub fn figures(&self, choice: &Choice, folder: &Path) -> Vec<Figure> {
        if self.purpose != Purpose::Gallery {
            return Vec::new();
        }
        let folder = folder.display().to_string();
        let prefix = format!("{}_{}", self.model.name().replace('-', "_"), self.data.name());
        let figure = |ending: &str, arguments: &[&str], more: Vec<String>| Figure {
            file: format!("{prefix}{ending}"),
            arguments: [strings(arguments), more].concat(),
        };
        let drawn = |ending: &str, arguments: &[&str]| figure(ending, arguments, choice.seed_and_place());
        let temperature = TEMPERATURE.to_string();
        let mut film = vec!["animate", &folder];
        if self.data.is_image() {
            film.extend(["--temperature", &temperature]);
        }
        let mut figures = vec![
            drawn(".gif", &film),
            drawn("_forward.png", &["trace", &folder, "--direction", "forward"]),
            drawn("_inverse.png", &["trace", &folder, "--direction", "inverse"]),
        ];
        if self.data.is_image() {
            let count = SHEET.to_string();
            let sample = ["sample", &folder, "-n", &count, "--temperature", &temperature];
            figures.push(drawn("_samples.png", &sample));
        } else {
            figures.push(drawn("_density.png", &["density", &folder]));
        }
        if self.model.is_convolutional(self.data) {
            figures.push(drawn("_temperatures.png", &["sheet", &folder, "temperature"]));
        }
        if self.classes.is_some() {
            let pairs = PAIRS.to_string();
            let interpolate = ["interpolate", &folder, "--pairs", &pairs];
            let classes = ["sheet", &folder, "classes", "--temperature", &temperature];
            let [from, to] = FROM_TO.map(|class| class.to_string());
            let attribute = ["attribute", &folder, "--from-class", &from, "--to-class", &to];
            figures.extend([
                drawn("_classes.png", &classes),
                drawn("_interpolation.png", &interpolate),
                drawn("_interpolation.gif", &interpolate),
                drawn("_levels.png", &["resample", &folder]),
                figure("_attribute.png", &attribute, choice.place()),
            ]);
        }
        if self.every_class {
            figures.extend([
                drawn("_scores.png", &["score", &folder, "--against", "upside-down"]),
                drawn("_confusion.png", &["classify", &folder]),
            ]);
        }
        let reference = super::references::line(self.model, self.data).map(|line| format!("--reference={line}"));
        let curve: Vec<&str> = ["curve", &folder].into_iter().chain(reference.as_deref()).collect();
        figures.push(figure("_curve.png", &curve, Vec::new()));
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
        let moons = ["nice-moons", "realnvp-moons", "glow-moons"];
        let images = ["nice-mnist", "realnvp-mnist", "realnvp-image-mnist", "glow-mnist"];
        let fixed = ["nice-moons-fixed-1000", "realnvp-moons-fixed-1000", "glow-moons-fixed-1000"];
        assert_eq!(names(&plain), [&moons[..], &images, &fixed].concat());

        let with_seed = jobs(FULL, Data::Mnist, &Choice { with_seed: true, ..Choice::default() });
        let seeds = ["nice-moons-seed", "realnvp-moons-seed", "nice-mnist-seed", "realnvp-mnist-seed"];
        assert_eq!(names(&with_seed)[10..], seeds, "the original has no others");

        let quick = jobs(QUICK, Data::Digits, &Choice::default());
        let images = ["nice-digits", "realnvp-digits", "realnvp-image-digits", "glow-digits"];
        assert_eq!(names(&quick), [&moons[..], &images].concat());
    }

    /// The training of `name`, into `run`.
    fn training(budget: Budget, choice: &Choice, name: &str) -> String {
        let jobs = jobs(budget, Data::Mnist, choice);
        let job = jobs.iter().find(|job| job.name == name).unwrap();
        command_line(job.train_arguments(choice, Path::new("run")))
    }

    #[test]
    fn every_choice_is_in_the_command_line() {
        let choice = Choice { device: "cuda:1".into(), threads: 2, seed: 7, with_seed: true };
        let common = "--seed 7 --threads 2 --device cuda:1";
        for (budget, name, line) in [
            (FULL, "nice-moons", format!("train nice --data moons --preset default {common}")),
            (
                FULL,
                "realnvp-moons-fixed-1000",
                format!("train realnvp --data moons --preset default {common} --set data.fixed=1000"),
            ),
            (FULL, "nice-mnist-seed", format!("train nice --data mnist --preset seed {common}")),
            (QUICK, "realnvp-mnist", format!("train realnvp --data mnist --preset default {common} --steps 300")),
            (
                QUICK,
                "realnvp-image-mnist",
                format!("train realnvp-image --data mnist --preset default {common} --steps 60"),
            ),
        ] {
            assert_eq!(training(budget, &choice, name), format!("{line} --out run"));
        }
    }

    #[test]
    fn image_models_take_what_a_cpu_can_do_unless_a_gpu_is_asked_for() {
        let preset = |device: &str, name: &str| {
            let line = training(FULL, &Choice { device: device.into(), ..Choice::default() }, name);
            line.split(' ').nth(5).unwrap().to_owned()
        };
        for (device, image) in
            [("cpu", "cpu"), ("auto", "cpu"), ("mps", "cpu"), ("cuda", "default"), ("cuda:1", "default")]
        {
            assert_eq!(["realnvp-image-mnist", "glow-mnist"].map(|name| preset(device, name)), [image; 2], "{device}");
            for fast in ["glow-moons", "nice-mnist", "realnvp-mnist", "glow-moons-fixed-1000"] {
                assert_eq!(preset(device, fast), "default", "{fast} on {device}");
            }
        }
    }

    #[test]
    fn one_glow_knows_the_classes_of_images() {
        let choice = Choice { device: "cpu".into(), threads: 2, ..Choice::default() };
        let common = "--seed 0 --threads 2 --device cpu";
        assert_eq!(
            training(FULL, &choice, "glow-mnist"),
            format!("train glow --data mnist --preset cpu {common} --set model.classes=10 --out run")
        );
        assert_eq!(
            training(FULL, &choice, "glow-moons"),
            format!("train glow --data moons --preset default {common} --out run")
        );
        let draws = |budget| jobs(budget, Data::Mnist, &choice).iter().map(|job| job.draws).collect::<Vec<_>>();
        assert_eq!(draws(FULL), [1, 1, 1, 10, 10, 10, 3, 1, 1, 1]);
        assert_eq!(draws(QUICK), [1; 7]);
    }

    #[test]
    fn a_first_look_does_not_try_every_class_on_ten_thousand_images() {
        let choice = Choice { device: "cpu".into(), threads: 2, ..Choice::default() };
        let common = "--seed 0 --threads 2 --device cpu";
        let glow =
            |budget, images| jobs(budget, images, &choice).into_iter().find(|job| job.classes.is_some()).unwrap();
        let eval = |job: &Job| command_line(job.evaluate_arguments(&choice, Path::new("run")));
        let quick = glow(QUICK, Data::Mnist);
        assert_eq!(eval(&quick), format!("eval run --split test --draws 1 --json --no-marginal {common}"));
        let files: Vec<_> = quick.figures(&choice, Path::new("run")).into_iter().map(|figure| figure.file).collect();
        assert!(files.contains(&"glow_mnist_classes.png".into()) && !files.contains(&"glow_mnist_scores.png".into()));
        assert_eq!(files.len(), 11);

        assert_eq!(eval(&glow(QUICK, Data::Digits)), format!("eval run --split test --draws 1 --json {common}"));
        assert_eq!(eval(&glow(FULL, Data::Mnist)), format!("eval run --split test --draws 3 --json {common}"));
        assert_eq!(glow(FULL, Data::Mnist).figures(&choice, Path::new("run")).len(), 13);
    }

    #[test]
    fn pictures_are_named_after_the_data_that_was_used() {
        let choice = Choice { device: "cuda:1".into(), threads: 2, seed: 7, ..Choice::default() };
        let jobs = jobs(FULL, Data::Digits, &choice);
        let figures = |name: &str| jobs.iter().find(|job| job.name == name).unwrap().figures(&choice, Path::new("run"));
        let files = |name: &str| -> Vec<_> { figures(name).into_iter().map(|figure| figure.file).collect() };
        let first = [".gif", "_forward.png", "_inverse.png"];
        for (name, prefix, more) in [
            ("nice-moons", "nice_moons", &["_density.png", "_curve.png"][..]),
            ("glow-moons", "glow_moons", &["_density.png", "_curve.png"]),
            ("realnvp-digits", "realnvp_digits", &["_samples.png", "_curve.png"]),
            ("realnvp-image-digits", "realnvp_image_digits", &["_samples.png", "_temperatures.png", "_curve.png"]),
            (
                "glow-digits",
                "glow_digits",
                &[
                    "_samples.png",
                    "_temperatures.png",
                    "_classes.png",
                    "_interpolation.png",
                    "_interpolation.gif",
                    "_levels.png",
                    "_attribute.png",
                    "_scores.png",
                    "_confusion.png",
                    "_curve.png",
                ],
            ),
        ] {
            let expected: Vec<_> = first.iter().chain(more).map(|ending| format!("{prefix}{ending}")).collect();
            assert_eq!(files(name), expected);
        }
        assert!(files("glow-moons-fixed-1000").is_empty(), "rows have no pictures");

        let line = |name: &str, ending: &str| {
            let figure = figures(name).into_iter().find(|figure| figure.file.ends_with(ending)).unwrap();
            command_line(figure.arguments)
        };
        for (name, ending, asked) in [
            ("nice-moons", "_forward.png", "trace run --direction forward"),
            ("nice-moons", "_density.png", "density run"),
            ("nice-digits", ".gif", "animate run --temperature 0.75"),
            ("nice-digits", "_samples.png", "sample run -n 225 --temperature 0.75"),
            ("realnvp-image-digits", "_temperatures.png", "sheet run temperature"),
            ("glow-digits", "_classes.png", "sheet run classes --temperature 0.75"),
            ("glow-digits", "_interpolation.gif", "interpolate run --pairs 8"),
            ("glow-digits", "_levels.png", "resample run"),
            ("glow-digits", "_scores.png", "score run --against upside-down"),
            ("glow-digits", "_confusion.png", "classify run"),
        ] {
            assert_eq!(line(name, ending), format!("{asked} --seed 7 --threads 2 --device cuda:1"));
        }
        let attribute = "attribute run --from-class 3 --to-class 8 --threads 2 --device cuda:1";
        assert_eq!(line("glow-digits", "_attribute.png"), attribute, "nothing in it is random");
        assert_eq!(line("nice-digits", "_curve.png"), "curve run", "nothing is published for digits");
        let moons = &figures("glow-moons")[4];
        assert!(moons.arguments[2].starts_with("--reference=-1.0896:"), "{moons:?}");
    }
}
