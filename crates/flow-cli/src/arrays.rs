//! Tensors as arrays, arrays as files.

use std::io::Cursor;

use anyhow::Context;
use flow_data::Values;
use ndarray::{Array2, ArrayD, ArrayView2, IxDyn};
use ndarray_npy::WriteNpyExt;
use tch::{Device, Kind, Tensor};

/// `[n, ..]` to `[n, D]`.
pub fn matrix(t: &Tensor) -> Array2<f32> {
    let size = t.size();
    let (n, dim) = (size[0] as usize, size[1..].iter().product::<i64>() as usize);
    let t = t.detach().to_device(Device::Cpu).to_kind(Kind::Float).contiguous().reshape([-1]);
    let numbers = Vec::<f32>::try_from(t).expect("one dimension of f32");
    Array2::from_shape_vec((n, dim), numbers).expect("n rows of D")
}

/// `[n, D]` to a tensor on `device`.
pub fn tensor(rows: ArrayView2<'_, f32>, device: Device) -> Tensor {
    let (n, dim) = rows.dim();
    let rows = rows.as_standard_layout();
    let numbers = rows.as_slice().expect("standard layout");
    Tensor::from_slice(numbers).reshape([n as i64, dim as i64]).to_device(device)
}

/// `[n, D]` as `[n, ..event]`.
pub fn with_event(rows: Array2<f32>, event: &[usize]) -> ArrayD<f32> {
    let shape: Vec<usize> = std::iter::once(rows.nrows()).chain(event.iter().copied()).collect();
    rows.into_shape_with_order(IxDyn(&shape)).expect("D is the product of the event's shape")
}

/// A .npy file.
pub fn npy<A: ndarray_npy::WritableElement>(array: &ArrayD<A>) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    array.write_npy(&mut bytes).context("writing npy")?;
    Ok(bytes.into_inner())
}

/// A .csv file with a header.
pub fn csv<A: ToString>(columns: &[String], rows: impl Iterator<Item = Vec<A>>) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(columns)?;
    for row in rows {
        writer.write_record(row.iter().map(ToString::to_string))?;
    }
    writer.into_inner().context("writing csv")
}

/// Rows as a model that is not dequantizing sees them: levels at the middle of their cell, `(k + 1/2) / levels`.
pub fn shown(values: &Values) -> Array2<f32> {
    match values {
        Values::Reals(rows) => rows.clone(),
        Values::Levels { data, levels } => data.mapv(|k| (f32::from(k) + 0.5) / *levels as f32),
    }
}
