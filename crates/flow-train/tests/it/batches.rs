//! Batches: every row once an epoch, a function of seed and step alone, dequantized within their levels.

use flow_core::rng::{derive_seed, permutation, with_seed};
use flow_data::{LoadOptions, Source, Spec, Split, Toy, Values};
use flow_train::batches::{Batches, DeviceRows};
use ndarray::Array2;
use tch::{Device, Kind, Tensor};

/// Rows whose every value is the row's own number.
fn numbered(rows: usize) -> Source {
    let values = Array2::from_shape_fn((rows, 3), |(row, _)| row as f32);
    Source::Fixed(Split::new(Values::Reals(values), vec![3], None).unwrap())
}

fn levels(values: Vec<u8>, levels: u32) -> Split {
    let data = Array2::from_shape_vec((values.len() / 4, 4), values).unwrap();
    Split::new(Values::Levels { data, levels }, vec![1, 2, 2], None).unwrap()
}

/// Which rows the batch of `step` holds.
fn rows(batches: &mut Batches, step: u64) -> Vec<i64> {
    let batch = batches.pick(step).batch().x;
    assert_eq!(batch.size()[1], 3);
    Vec::try_from(batch.select(1, 2).to_kind(Kind::Int64)).unwrap()
}

fn numbers(t: &Tensor) -> Vec<f32> {
    Vec::try_from(t.flatten(0, -1)).unwrap()
}

#[test]
fn each_epoch_visits_every_row_once_in_an_order_of_its_own() {
    // 4 does not divide 10, and 25 is larger: batches span epochs.
    for batch in [4, 10, 25] {
        let mut batches = Batches::new(&numbered(10), batch, 0, 5, Device::Cpu).unwrap();
        let visited: Vec<i64> = (0..100 / batch as u64).flat_map(|step| rows(&mut batches, step)).collect();
        let epochs: Vec<&[i64]> = visited.chunks_exact(10).collect();
        for (i, epoch) in epochs.iter().enumerate() {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<i64>>(), "epoch {i}");
            assert!(epochs[..i].iter().all(|before| before != epoch), "epoch {i}");
        }
    }
}

#[test]
fn a_step_has_its_batch_wherever_one_starts() {
    let fresh = |step| rows(&mut Batches::new(&numbered(7), 3, 0, 5, Device::Cpu).unwrap(), step);
    let mut batches = Batches::new(&numbered(7), 3, 0, 5, Device::Cpu).unwrap();
    let in_order: Vec<Vec<i64>> = (0..20).map(|step| rows(&mut batches, step)).collect();
    for step in [0, 1, 2, 6, 7, 13, 19, 4] {
        assert_eq!(fresh(step), in_order[step as usize], "step {step}");
        assert_eq!(rows(&mut batches, step), in_order[step as usize], "step {step}, going back");
    }
    let other: Vec<Vec<i64>> = {
        let mut batches = Batches::new(&numbered(7), 3, 0, 6, Device::Cpu).unwrap();
        (0..20).map(|step| rows(&mut batches, step)).collect()
    };
    assert_ne!(other, in_order);
}

#[test]
fn fresh_draws_are_the_toys_own() {
    let mut batches = Batches::new(&Source::Fresh(Toy::Circles), 16, 0, 9, Device::Cpu).unwrap();
    for step in [3, 0] {
        let expected = Toy::Circles.draw_batch(16, 9, step);
        let batch = batches.pick(step).batch().x;
        assert_eq!(batch.size(), [16, 2]);
        assert_eq!(numbers(&batch), expected.as_slice().unwrap());
    }
}

#[test]
fn noise_stays_within_a_level() {
    for count in [17, 256] {
        let top = (count - 1) as u8;
        let all: Vec<u8> = (0..40_000).map(|i| [0, 1, top / 2, top][i % 4]).collect();
        let rows = DeviceRows::new(&levels(all.clone(), count), Device::Cpu);
        let batch = numbers(&rows.dequantized(0, rows.len(), 1).x);
        let l = count as f32;
        for (&k, &x) in all.iter().zip(&batch) {
            assert!(x >= f32::from(k) / l && x < (f32::from(k) + 1.0) / l, "{k} of {count} became {x}");
        }
        let u: Vec<f64> = all.iter().zip(&batch).map(|(&k, &x)| f64::from(x) * f64::from(l) - f64::from(k)).collect();
        let n = u.len() as f64;
        let mean = u.iter().sum::<f64>() / n;
        let variance = u.iter().map(|u| (u - mean).powi(2)).sum::<f64>() / n;
        // Standard errors of a uniform's mean and variance.
        assert!((mean - 0.5).abs() < 4.0 * (1.0 / 12.0 / n).sqrt(), "{mean}");
        assert!((variance - 1.0 / 12.0).abs() < 4.0 * (1.0 / 180.0 / n).sqrt(), "{variance}");
    }
}

#[test]
fn no_noise_carries_the_highest_level_to_one() {
    // Of 4 million draws of an f32 uniform, some 30 would round 255 + u up to 256.
    let rows = DeviceRows::new(&levels(vec![255; 4_000_000], 256), Device::Cpu);
    let highest = rows.dequantized(0, rows.len(), 2).x.max().double_value(&[]);
    assert!(highest < 1.0 && highest > 255.999 / 256.0, "{highest}");
}

#[test]
fn noise_has_a_seed_of_its_own_and_differs_from_row_to_row() {
    let rows = DeviceRows::new(&levels(vec![3; 40], 17), Device::Cpu);
    let draw = |start, seed| rows.dequantized(start, 5, seed).x;
    assert_eq!(draw(0, 1), draw(0, 1));
    assert_ne!(draw(0, 1), draw(0, 2));
    assert_ne!(draw(0, 1), draw(5, 1));
    let index = Tensor::from_slice(&[2i64, 2]);
    let twice = with_seed(1, || rows.batch(&index).x);
    assert_ne!(twice.get(0), twice.get(1));
}

#[test]
fn rows_say_what_they_are() {
    let images = DeviceRows::new(&levels((0..12).collect(), 17), Device::Cpu);
    assert_eq!((images.len(), images.is_empty(), images.levels()), (3, false, Some(17)));
    let Source::Fixed(table) = numbered(5) else { unreachable!() };
    let table = DeviceRows::new(&table, Device::Cpu);
    assert_eq!((table.len(), table.levels()), (5, None));
    let picked = table.batch(&Tensor::from_slice(&[4i64, 0])).x;
    assert_eq!(numbers(&picked), [4.0, 4.0, 4.0, 0.0, 0.0, 0.0]);
}

#[test]
fn an_epoch_is_a_permutation_by_its_seed() {
    for n in [7, 1_000, 70_001] {
        let mut batches = Batches::new(&numbered(n), n, 0, 5, Device::Cpu).unwrap();
        for epoch in [0, 3] {
            assert_eq!(rows(&mut batches, epoch), permutation(n, derive_seed(5, "epoch", epoch)), "{n} rows");
        }
    }
}

#[test]
fn rows_on_the_device_make_the_batches_of_rows_that_stayed() {
    let Source::Fixed(table) = numbered(100_000) else { unreachable!() };
    let table_index = Tensor::from_slice(&[99_999i64, 0, 65_535, 65_536, 0]);
    let images = levels((0..=255).collect(), 256);
    let images_index = Tensor::from_slice(&[63i64, 0, 63]);
    for (split, index) in [(table, table_index), (images, images_index)] {
        let batch = |rows: &DeviceRows| with_seed(1, || rows.batch(&index).x);
        let (stayed, copied) = (DeviceRows::new(&split, Device::Cpu), DeviceRows::copied(&split, Device::Cpu));
        assert_eq!((stayed.len(), stayed.levels()), (copied.len(), copied.levels()));
        assert_eq!(batch(&stayed), batch(&copied));
        assert_eq!(stayed.dequantized(1, 9, 2).x, copied.dequantized(1, 9, 2).x);
    }
}

/// The same table in a mapped file of f64 and in a CSV file, which is read into memory.
#[test]
fn a_mapped_file_is_trained_on_as_the_same_rows_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = Array2::from_shape_fn((103, 2), |(i, j)| f64::from((i * 29 + j * 7) as u32 % 101) / 4.0);
    let npy = folder.path().join("t.npy");
    Tensor::from_slice(numbers.as_slice().unwrap()).reshape([103, 2]).write_npy(&npy).unwrap();
    let csv = folder.path().join("t.csv");
    let lines: Vec<String> = numbers.outer_iter().map(|row| format!("{},{}", row[0], row[1])).collect();
    std::fs::write(&csv, lines.join("\n")).unwrap();
    let load = |spec| flow_data::load(&spec, &LoadOptions::default()).unwrap();
    let (mapped, read) = (load(Spec::Npy(npy)), load(Spec::Csv(csv)));
    let batches = |source| Batches::new(source, 32, 0, 4, Device::Cpu).unwrap();
    let (mut mapped, mut read) = (batches(&mapped.train), batches(&read.train));
    for step in 0..10 {
        assert_eq!(mapped.pick(step).batch().x, read.pick(step).batch().x, "step {step}");
    }
}
