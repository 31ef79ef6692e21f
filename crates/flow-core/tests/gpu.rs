//! What is computed by this toolkit's own kernels on a GPU against libtorch's operations and autograd's tape: kernels thread by
//! thread on the processor.

use flow_core::rng::with_seed;
use flow_core::{
    ActNorm, Bijection, Bound, Conditioner, Conv1x1, Coupling, ImageCoupling, ImageMask, Law, Mask, SqueezeOrder,
    ToParameters, gpu, gradient_of,
};
use flow_cuda::kernels::emulated;
use tch::{Device, Kind, Tensor, nn};

fn draw(size: &[i64], seed: u64) -> Tensor {
    with_seed(seed, || Tensor::randn(size, (Kind::Float, Device::Cpu)))
}

fn close(what: &str, got: &Tensor, expected: &Tensor) {
    close_to(5e-4, what, got, expected);
}

fn close_to(share: f64, what: &str, got: &Tensor, expected: &Tensor) {
    assert_eq!(got.size(), expected.size(), "{what}");
    let off = (got - expected).abs().max().double_value(&[]);
    let most = expected.abs().max().double_value(&[]);
    assert!(off < share * (1.0 + most), "{what} is off by {off} of {most}");
}

/// What a way back of f32 may lose where a spline is steep.
const WAY_BACK: f64 = 2e-3;

/// Both ways, and a training step's two, with every variable of `vs` drawn.
fn check(what: &str, bijection: &dyn Bijection, vs: &nn::VarStore, x: &Tensor) {
    let leaf = x.copy().set_requires_grad(true);
    let (z, log_det) = bijection.forward(&leaf, None);
    let (grad_z, grad_log_det) = (draw(&z.size(), 3), draw(&log_det.size(), 4));
    ((&z * &grad_z).sum(None::<Kind>) + (&log_det * &grad_log_det).sum(None::<Kind>)).backward();
    let variables = vs.variables();
    let gradients: Vec<Tensor> = variables.values().filter_map(gradient_of).collect();
    let of_variables: Vec<Tensor> = gradients.iter().map(Tensor::copy).collect();
    emulated(|| {
        tch::no_grad(|| {
            assert!(gpu::applies(x));
            let (z_here, log_det_here) = bijection.forward(x, None);
            close(&format!("{what}: z"), &z_here, &z.detach());
            close(&format!("{what}: ln|det|"), &log_det_here, &log_det.detach());
            let (back, log_det_back) = bijection.inverse(&z_here, None);
            close_to(WAY_BACK, &format!("{what}: x"), &back, x);
            close_to(WAY_BACK, &format!("{what}: ln|det| back"), &log_det_back, &log_det.neg().detach());
            for wanted in [true, false] {
                gradients.iter().for_each(|gradient| drop(gradient.shallow_clone().zero_()));
                let kept = bijection.forward_keeping(x, None);
                close(&format!("{what}: z"), &kept.value, &z.detach());
                close(&format!("{what}: ln|det|"), &kept.log_det, &log_det.detach());
                let grad_x = kept.back.backward(&grad_z, &grad_log_det, wanted, &mut ToParameters);
                assert!(grad_x.is_some() || !wanted);
                grad_x.iter().for_each(|grad_x| close(&format!("{what}: gradient"), grad_x, &leaf.grad()));
                for ((name, here), expected) in variables.keys().zip(&gradients).zip(&of_variables) {
                    close(&format!("{what}: {name}"), here, expected);
                }
            }
        });
    });
}

/// A linear map of the channels, by libtorch, and a tanh.
#[derive(Debug)]
struct Linear(Tensor);

impl Conditioner for Linear {
    fn forward(&self, kept: &Tensor, _context: Option<&Tensor>) -> Tensor {
        kept.transpose(1, -1).matmul(&self.0).transpose(1, -1).tanh() * 2.0
    }
}

fn masks(dim: usize) -> [Mask; 5] {
    let listed: Vec<bool> = (0..dim).map(|i| i % 3 != 1).collect();
    [
        Mask::halves(dim, false).unwrap(),
        Mask::halves(dim, true).unwrap(),
        Mask::alternating(dim, false).unwrap(),
        Mask::alternating(dim, true).unwrap(),
        Mask::from_bools(&listed, Device::Cpu).unwrap(),
    ]
}

fn laws(path: &nn::Path, changed: usize) -> [Law; 4] {
    [
        Law::Additive,
        Law::Affine { bound: Bound::Fixed(1.5) },
        Law::Affine { bound: Bound::learned(path, changed, 0.7) },
        Law::Spline { bins: 8 },
    ]
}

/// A row has a warp, or a block.
#[test]
fn couplings_of_vectors() {
    for dim in [2, 5, 70, 300] {
        for mask in 0..5 {
            for law in 0..4 {
                let vs = nn::VarStore::new(Device::Cpu);
                let own = masks(dim).into_iter().nth(mask).unwrap();
                let (kept, changed) = (own.kept().len() as i64, own.changed().len());
                let law = laws(&vs.root(), changed).into_iter().nth(law).unwrap();
                let what = format!("{dim} coordinates, mask {mask}, {law:?}");
                let outputs = (law.parameters() * changed) as i64;
                let weight = draw(&[kept, outputs], 1) / (kept as f64).sqrt();
                let weight = vs.root().add("weight", weight, true);
                check(&what, &Coupling::new(own, Linear(weight), law), &vs, &draw(&[11, dim as i64], 2));
            }
        }
    }
}

#[test]
fn couplings_of_images() {
    let channels = 8;
    for (mask, kept, changed) in [
        (ImageMask::Channels { first: 3, flipped: false }, 3, 5),
        (ImageMask::Channels { first: 3, flipped: true }, 5, 3),
        (ImageMask::Diagonal { order: SqueezeOrder::ChannelMajor, flipped: false }, 4, 4),
        (ImageMask::Checkerboard { flipped: true }, 8, 8),
    ] {
        let vs = nn::VarStore::new(Device::Cpu);
        let law = Law::Spline { bins: 8 };
        let weight = vs.root().add("weight", draw(&[kept, 25 * changed], 1), true);
        let coupling = ImageCoupling::new(mask, channels, Linear(weight), law).unwrap();
        check(&format!("{mask:?}"), &coupling, &vs, &(draw(&[3, channels as i64, 4, 6], 2) * 3.0));
    }
}

#[test]
fn act_norm() {
    for size in [&[70, 5][..], &[3, 6, 5, 7], &[300, 2], &[1, 300]] {
        let vs = nn::VarStore::new(Device::Cpu);
        let act_norm = ActNorm::new(&vs.root(), size[1] as usize);
        tch::no_grad(|| {
            for (i, name) in ["log_scale", "shift"].into_iter().enumerate() {
                let mut variable = vs.variables()[name].shallow_clone();
                variable.copy_(&(draw(&[size[1]], i as u64) * 0.5));
            }
        });
        check(&format!("ActNorm of {size:?}"), &act_norm, &vs, &draw(size, 2));
    }
}

#[test]
fn mixing_of_channels() {
    for channels in [1, 2, 12, 20] {
        let vs = nn::VarStore::new(Device::Cpu);
        let mixing = Conv1x1::lu(&vs.root(), channels, 5);
        tch::no_grad(|| {
            let mut diagonal = vs.variables()["log_diagonal"].shallow_clone();
            diagonal.copy_(&(&diagonal * 0.3 + draw(&diagonal.size(), 1) * 0.3));
        });
        check(&format!("{channels} channels"), &mixing, &vs, &draw(&[3, channels as i64, 5, 4], 2));
    }
}
