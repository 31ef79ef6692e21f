//! Rows that stay in their file: the file is mapped, and rows are gathered from it when they are asked for.

mod bytes;
mod numbers;
mod rows;

pub(crate) use self::{
    bytes::FileBytes,
    numbers::{Element, Number},
    rows::{Columns, Layout, MappedRows},
};
