//! Batches of images in the shapes callers have them, as `[n, c, h, w]`.

use ndarray::{ArrayD, ArrayView4, ArrayViewD, Axis, Ix4};

use crate::error::{Error, Result};

/// `images` as `[n, c, h, w]`, c being 1 or 3; `what` they are stands in the error.
pub(crate) fn with_channels<'a>(what: &str, images: ArrayViewD<'a, f32>) -> Result<ArrayView4<'a, f32>> {
    let found = images.shape().to_vec();
    let wrong = || Error::shape(what, "[n, h, w], [n, 1, h, w] or [n, 3, h, w]", &found);
    let images = if found.len() == 3 { images.insert_axis(Axis(1)) } else { images };
    let images = images.into_dimensionality::<Ix4>().map_err(|_| wrong())?;
    match images.dim() {
        _ if images.is_empty() => Err(Error::empty(what)),
        (_, 1 | 3, _, _) => Ok(images),
        _ => Err(wrong()),
    }
}

/// All of `batches`, each with a name for the error, as `[n, c, h, w]`: the same four numbers in each.
pub(crate) fn alike<'a>(
    batches: impl IntoIterator<Item = (String, &'a ArrayD<f32>)>,
) -> Result<Vec<ArrayView4<'a, f32>>> {
    let mut all: Vec<ArrayView4<f32>> = Vec::new();
    for (what, images) in batches {
        let images = with_channels(&what, images.view())?;
        match all.first() {
            Some(first) if first.dim() != images.dim() => {
                return Err(Error::shape(what, format!("{:?} as in the first", first.shape()), images.shape()));
            }
            _ => all.push(images),
        }
    }
    Ok(all)
}

/// Checks that black lies below white.
pub(crate) fn check_range((black, white): (f32, f32)) -> Result<()> {
    match black.is_finite() && white.is_finite() && black < white {
        true => Ok(()),
        false => Err(Error::setting("range", format!("black {black} is not below white {white}"))),
    }
}
