//! A model file, byte by byte.
#![no_main]

use flow_fuzz::file;
use flow_models::file::load;
use libfuzzer_sys::fuzz_target;
use tch::{Device, Kind, Tensor};

fuzz_target!(|bytes: &[u8]| {
    let path = file("model.safetensors", bytes);
    let Ok((model, card)) = load(&path, Device::Cpu) else { return };
    let numbers: usize = model.variables().values().map(Tensor::numel).sum();
    assert!(4 * numbers <= bytes.len(), "{numbers} numbers of {} bytes", bytes.len());
    // It computes; with a context, what a person gives is checked before.
    let dim: usize = card.event.iter().product();
    if card.model.context() == 0 && dim <= 4096 {
        let x = Tensor::full([2, dim as i64], 0.5, (Kind::Float, Device::Cpu));
        assert_eq!(tch::no_grad(|| model.flow().log_prob(&x, None)).size(), [2]);
    }
});
