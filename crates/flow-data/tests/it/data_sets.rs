//! Every data set that needs no file: sizes, shapes, labels, and that a seed means the same numbers for ever.

use flow_data::{DataSet, Error, LoadOptions, Part, Preprocessing, Rows, Source, Spec, Split, Toy, Values, load};
use ndarray::{Array2, Axis, array};

fn load_seeded(spec: &Spec, seed: u64) -> DataSet {
    load(spec, &LoadOptions { seed, ..LoadOptions::default() }).unwrap()
}

fn sizes(data: &DataSet) -> [Option<usize>; 3] {
    [data.train.rows(), Some(data.validation.len()), Some(data.test.len())]
}

fn sorted_rows(splits: [&Split; 3]) -> Vec<Vec<u32>> {
    let bits = |split: &Split| split.to_reals().outer_iter().map(|r| r.mapv(f32::to_bits).to_vec()).collect::<Vec<_>>();
    let mut rows: Vec<_> = splits.into_iter().flat_map(bits).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn toys_are_drawn_with_validation_and_test_points_of_their_own() {
    for toy in Toy::ALL {
        let data = load_seeded(&toy.into(), 0);
        assert!(matches!(data.train, Source::Fresh(fresh) if fresh == toy));
        assert_eq!(sizes(&data), [None, Some(5_000), Some(20_000)]);
        assert_eq!((data.dim(), data.event_shape.as_slice(), data.test.event_shape()), (2, &[2][..], &[2][..]));
        assert_eq!(data.preprocessing, Preprocessing::toy(toy));
        let (validation, test) = (data.validation.to_reals(), data.test.to_reals());
        for other in [toy.draw(100, 0), toy.draw_batch(100, 0, 0), test] {
            assert_ne!(validation.row(0), other.row(0));
        }
        assert_ne!(validation, load_seeded(&toy.into(), 1).validation.to_reals());
    }
}

#[test]
fn toys_can_be_trained_on_a_fixed_set() {
    let options = |fixed| LoadOptions { fixed: Some(fixed), ..LoadOptions::default() };
    let data = load(&Spec::Moons, &options(1_000)).unwrap();
    assert_eq!(sizes(&data), [Some(1_000), Some(5_000), Some(20_000)]);
    assert_eq!(data.test, load_seeded(&Spec::Moons, 0).test);
    assert!(matches!(load(&Spec::Moons, &options(0)), Err(Error::Fixed { fixed: 0, .. })));
    assert!(matches!(load(&Spec::Digits, &options(9)), Err(Error::Fixed { fixed: 9, .. })));
}

#[test]
fn labels_of_two_moons_and_circles_are_the_arcs() {
    let data = load_seeded(&Spec::Circles, 0);
    let labels = data.test.labels.clone().unwrap();
    let radii = data.test.values().to_reals().map_axis(Axis(1), |x| x.dot(&x).sqrt());
    let mean = |arc: u8| {
        let of_arc: Vec<f32> = radii.iter().zip(&labels).filter(|(_, l)| **l == arc).map(|(r, _)| *r).collect();
        (of_arc.len(), of_arc.iter().sum::<f32>() / of_arc.len() as f32)
    };
    let ((outer, far), (inner, near)) = (mean(0), mean(1));
    assert!(outer + inner == 20_000 && outer.abs_diff(inner) < 600, "{outer} and {inner}");
    assert!((far / near - 2.0).abs() < 0.05, "radii {far} and {near}");
    assert!(load_seeded(&Spec::Moons, 0).test.labels.is_none());
}

#[test]
fn digits_are_whole_and_split_by_seed() {
    let data = load_seeded(&Spec::Digits, 0);
    assert_eq!(sizes(&data), [Some(1_297), Some(250), Some(250)]);
    assert_eq!(data.event_shape, [1, 8, 8]);
    assert_eq!(data.preprocessing, Preprocessing::Levels { levels: 17, height: 8, width: 8, channels: 1 });
    let train = data.split(Part::Train).unwrap();
    let values = train.values();
    let Values::Levels { data: pixels, levels: 17 } = &*values else { panic!("levels") };
    assert_eq!((pixels.iter().min(), pixels.iter().max()), (Some(&0), Some(&16)));
    let mut counts = [0; 10];
    for split in [train, &data.validation, &data.test] {
        split.labels.as_ref().unwrap().iter().for_each(|&label| counts[usize::from(label)] += 1);
    }
    // The numbers of each digit in the published test file.
    assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    let other = load_seeded(&Spec::Digits, 1);
    assert_ne!(other.test, data.test);
    let rows = |data: &DataSet| sorted_rows([data.split(Part::Train).unwrap(), &data.validation, &data.test]);
    assert_eq!(rows(&other), rows(&data));
}

#[test]
fn embedded_tables_have_their_columns_and_labels() {
    for (spec, rows, columns, labels) in [
        (Spec::Iris, 150, 4, Some(0..=2)),
        (Spec::WineQuality, 1_599, 11, Some(3..=8)),
        (Spec::Diabetes, 441, 10, None),
    ] {
        let data = load_seeded(&spec, 0);
        let tenth = rows / 10;
        assert_eq!(sizes(&data), [Some(rows - 2 * tenth), Some(tenth), Some(tenth)]);
        assert_eq!(data.event_shape, [columns]);
        let Preprocessing::Table { columns: names, mean, std } = &data.preprocessing else { panic!("a table") };
        assert_eq!([names.len(), mean.len(), std.len()], [columns; 3]);
        assert!(std.iter().all(|&std| std > 0.0));
        let found = data.split(Part::Train).unwrap().labels.as_ref();
        assert_eq!(found.is_some(), labels.is_some());
        for (label, expected) in found.into_iter().flatten().zip(labels.into_iter().cycle()) {
            assert!(expected.contains(label), "{spec}: {label}");
        }
    }
}

#[test]
fn linfa_sees_the_same_rows() {
    let data = load_seeded(&Spec::Iris, 0);
    let view = data.to_linfa_labelled(Part::Test).unwrap();
    assert_eq!(view.records(), &data.test.to_reals());
    assert_eq!(view.targets(), &data.test.labels.as_ref().unwrap().mapv(usize::from));
    assert_eq!(view.feature_names()[0], "sepal length");
    assert_eq!(data.to_linfa(Part::Train).unwrap().records().nrows(), 120);
    let moons = load_seeded(&Spec::Moons, 0);
    assert!(moons.to_linfa(Part::Train).is_none() && moons.to_linfa_labelled(Part::Test).is_none());
    assert_eq!(moons.to_linfa(Part::Test).unwrap().feature_names(), ["x1", "x2"]);
}

/// A seed is a promise: these numbers were drawn once and may not change with a dependency.
#[test]
fn a_seed_means_the_same_numbers_for_ever() {
    let close = |found: Array2<f32>, expected: Array2<f32>| {
        assert!((&found - &expected).iter().all(|off| off.abs() < 1e-6), "{found:?}");
    };
    close(Toy::Moons.draw(2, 0), array![[-0.2470583, -0.83856183], [1.6732159, 1.734027]]);
    close(Toy::TwoMoons.draw(2, 0), array![[1.6536899, 0.16391146], [1.4528227, -0.23708624]]);
    close(Toy::Circles.draw(2, 0), array![[0.7512386, -0.30570903], [0.35845143, -0.6003533]]);
    close(Toy::Moons.draw_batch(1, 7, 3), array![[-0.09719212, 0.6868885]]);
    let first = |spec| load_seeded(&spec, 0).test.values().gather(&[0, 1]).to_reals();
    close(first(Spec::Moons), array![[-0.35817972, -0.47762412], [-0.7244448, -0.4387714]]);
    close(first(Spec::Iris), array![[6.8, 3.0, 5.5, 2.1], [4.6, 3.2, 1.4, 0.2]]);
    let labels = load_seeded(&Spec::Digits, 0).test.labels.unwrap();
    assert_eq!(labels.to_vec()[..10], [3, 0, 7, 7, 3, 5, 0, 7, 5, 8]);
}
