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
#[path = "plan_tests.rs"]
mod tests;
