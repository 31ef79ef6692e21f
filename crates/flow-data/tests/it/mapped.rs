//! Data sets that stay in their file hold what those in memory hold.

use std::{fs, path::PathBuf};

use flow_data::{DataSet, Error, ImageOptions, LoadOptions, Part, Preprocessing, Rows, Spec, Split, Values, load};
use ndarray::{Array2, Array3, array};
use ndarray_npy::{WritableElement, WriteNpyExt};
use tempfile::TempDir;

use crate::{gzip, idx::header, splits};

/// So many rows of three columns that a pass takes several parts: a part is 2^18 values.
const ROWS: usize = 200_000;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}

fn write<A: WritableElement>(path: &PathBuf, array: &Array2<A>) {
    array.write_npy(fs::File::create(path).unwrap()).unwrap();
}

fn load_seeded(spec: Spec, seed: u64) -> Result<DataSet, Error> {
    load(&spec, &LoadOptions { seed, ..LoadOptions::default() })
}

fn table() -> Array2<f32> {
    Array2::from_shape_fn((ROWS, 3), |(i, j)| ((i * 7_919 + j * 104_729) % 65_521) as f32 * 0.25 - 4_000.0)
}

#[test]
fn an_npy_file_is_dealt_as_a_csv_file_of_the_same_rows() {
    let (_guard, folder) = folder();
    let rows = table();
    let rows = rows.slice(ndarray::s![..5_000, ..]);
    let lines: Vec<String> = rows.outer_iter().map(|r| format!("{},{},{}", r[0], r[1], r[2])).collect();
    fs::write(folder.join("t.csv"), lines.join("\n")).unwrap();
    write(&folder.join("t.npy"), &rows.to_owned());
    for seed in [0, 3] {
        let csv = load_seeded(Spec::Csv(folder.join("t.csv")), seed).unwrap();
        let npy = load_seeded(Spec::Npy(folder.join("t.npy")), seed).unwrap();
        assert!(splits(&csv).iter().zip(splits(&npy)).all(|(a, b)| **a == *b), "seed {seed}");
    }
}

#[test]
fn every_type_and_order_in_memory_gathers_the_same_rows() {
    let (_guard, folder) = folder();
    let whole = Array2::from_shape_fn((500, 6), |(i, j)| ((i * 31 + j * 17) % 120) as i64);
    type Write<'a> = Box<dyn Fn(&PathBuf) + 'a>;
    let files: [(&str, Write<'_>); 7] = [
        ("f32", Box::new(|path| write(path, &whole.mapv(|v| v as f32)))),
        ("f64", Box::new(|path| write(path, &whole.mapv(|v| v as f64)))),
        ("u8", Box::new(|path| write(path, &whole.mapv(|v| v as u8)))),
        ("i16", Box::new(|path| write(path, &whole.mapv(|v| v as i16)))),
        ("u64", Box::new(|path| write(path, &whole.mapv(|v| v as u64)))),
        ("column-major", Box::new(|path| write(path, &whole.t().as_standard_layout().into_owned().reversed_axes()))),
        (
            "three axes",
            Box::new(|path| {
                let cube: Array3<i64> = whole.clone().into_shape_with_order((500, 2, 3)).unwrap();
                cube.write_npy(fs::File::create(path).unwrap()).unwrap();
            }),
        ),
    ];
    let expected = whole.mapv(|v| v as f32);
    for (name, write) in files {
        let path = folder.join(name);
        write(&path);
        let data = load_seeded(Spec::Npy(path), 1).unwrap();
        let order = load_order(500);
        let mut at = 0;
        for split in splits(&data) {
            let rows = split.to_reals();
            for row in rows.outer_iter() {
                assert_eq!(row, expected.row(order[at]), "{name}, row {at}");
                at += 1;
            }
            let few = [split.len() - 1, 0, 0];
            let Values::Reals(gathered) = split.gather(&few) else { panic!("reals") };
            assert_eq!(gathered, rows.select(ndarray::Axis(0), &few), "{name}");
            let selected = split.select(&few);
            assert_eq!((selected.to_reals(), selected.len(), split.levels()), (gathered, 3, None), "{name}");
        }
        assert_eq!(at, 500);
    }
}

/// The order in which `rows` rows are dealt by seed 1, found by a table in memory that holds their numbers.
fn load_order(rows: usize) -> Vec<usize> {
    let (_guard, folder) = folder();
    let lines: Vec<String> = (0..rows).map(|row| row.to_string()).collect();
    fs::write(folder.join("numbers.csv"), lines.join("\n")).unwrap();
    let data = load_seeded(Spec::Csv(folder.join("numbers.csv")), 1).unwrap();
    splits(&data).into_iter().flat_map(|split| split.to_reals().into_iter().map(|row| row as usize)).collect()
}

#[test]
fn the_moments_are_those_of_the_training_rows() {
    let (_guard, folder) = folder();
    write(&folder.join("t.npy"), &table());
    let data = load_seeded(Spec::Npy(folder.join("t.npy")), 0).unwrap();
    let Preprocessing::Table { mean, std, .. } = &data.preprocessing else { panic!("a table") };
    let train = data.split(Part::Train).unwrap().to_reals();
    for column in 0..3 {
        // Values are whole numbers of quarters: sums of them are exact in 64 bits.
        let quarters: Vec<i64> = train.column(column).iter().map(|x| (x * 4.0) as i64).collect();
        let n = quarters.len() as f64;
        let (sum, squares) = (quarters.iter().sum::<i64>(), quarters.iter().map(|q| q * q).sum::<i64>());
        let (expected_mean, expected_square) = (sum as f64 / 4.0 / n, squares as f64 / 16.0 / n);
        approx::assert_relative_eq!(mean[column], expected_mean, max_relative = 1e-12);
        let expected_std = (expected_square - expected_mean * expected_mean).sqrt();
        approx::assert_relative_eq!(std[column], expected_std, max_relative = 1e-9);
    }
}

#[test]
fn a_value_that_is_not_finite_is_found_in_any_part_of_the_file() {
    let (_guard, folder) = folder();
    for (row, column, value, problem) in
        [(0, 0, f64::NAN, "not a finite"), (150_001, 2, 1e300, "beyond the range"), (ROWS - 1, 1, f64::INFINITY, "inf")]
    {
        let mut rows = table().mapv(f64::from);
        rows[[row, column]] = value;
        write(&folder.join("t.npy"), &rows);
        let error = load_seeded(Spec::Npy(folder.join("t.npy")), 0).unwrap_err();
        let found = matches!(&error, Error::NpyCell { row: r, column: c, .. } if (*r, *c) == (row + 1, column + 1));
        assert!(found && error.to_string().contains(problem), "{error}");
    }
}

#[test]
fn tables_that_cannot_be_split_or_have_no_density_are_refused() {
    let (_guard, folder) = folder();
    let path = folder.join("t.npy");
    write(&path, &Array2::<f64>::ones((9, 2)));
    assert!(matches!(load_seeded(Spec::Npy(path.clone()), 0), Err(Error::TooFewRows { rows: 9, .. })));
    write(&path, &Array2::<f64>::ones((10, 2)));
    assert!(matches!(load_seeded(Spec::Npy(path.clone()), 0), Err(Error::ConstantColumn { column: 1, .. })));
    write(&path, &array![[0.0f32, 1.0]]);
    let whole = fs::read(&path).unwrap();
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(matches!(load_seeded(Spec::Npy(path.clone()), 0), Err(Error::Npy { .. })), "{len} bytes");
    }
}

#[test]
fn images_in_a_plain_file_are_those_of_the_gzipped_one() {
    let (_guard, folder) = folder();
    let pixels: Vec<u8> = (0..40 * 9).map(|i| (i * 37 % 256) as u8).collect();
    let images = [header(8, &[40, 3, 3]), pixels].concat();
    fs::write(folder.join("images-idx3"), &images).unwrap();
    fs::write(folder.join("images-idx3.gz"), gzip(&images)).unwrap();
    fs::write(folder.join("labels-idx1"), [header(8, &[40]), (0..40).collect()].concat()).unwrap();
    for bits in [None, Some(3)] {
        let read = |name: &str| {
            let image = ImageOptions { bits, ..ImageOptions::default() };
            load(&Spec::Idx(folder.join(name)), &LoadOptions { seed: 2, image, ..LoadOptions::default() }).unwrap()
        };
        let (plain, gzipped) = (read("images-idx3"), read("images-idx3.gz"));
        for (a, b) in splits(&plain).into_iter().zip(splits(&gzipped)) {
            assert_eq!(a, b);
            assert_eq!((a.levels(), b.levels()), (Some(1 << bits.unwrap_or(8)), a.levels()));
            let picked = [2usize, 0];
            let same = |split: &Split| (split.gather(&picked), split.select(&picked).labels);
            assert_eq!(same(a), same(b));
        }
    }
}

#[test]
#[should_panic]
fn a_row_beyond_the_end_of_a_split_panics() {
    let (_guard, folder) = folder();
    write(&folder.join("t.npy"), &Array2::from_shape_fn((10, 1), |(i, _)| i as f32));
    let data = load_seeded(Spec::Npy(folder.join("t.npy")), 0).unwrap();
    // The file has a tenth row, the split of one row has not.
    data.test.gather(&[1]);
}
